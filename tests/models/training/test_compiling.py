"""Compiled trainings: what is missing is told before anything starts, and half a build of a killed training harms no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from edgekit.errors import OptionError
from edgekit.models.training.classification.recipe import Training
from edgekit.models.training.classification.training import train
from edgekit.models.training.compiling import FOLDER, compiling
from edgekit.models.training.msdnet import MSDNetRecipe, make

RECIPE = MSDNetRecipe(epochs=1, compiled=True)
CACHE = "TORCHINDUCTOR_CACHE_DIR"


def test_without_a_compiler_nothing_starts_and_the_message_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        OptionError, match=r"no-such-compiler is not there: install it .*leave --compiled out"
    ):
        train(Training(tmp_path / "out", "no such data"), RECIPE, make)
    assert not (tmp_path / "out").exists()


def test_without_pythons_headers_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(OptionError, match=r"has no Python\.h: install them"):
        train(Training(tmp_path / "out", "no such data"), RECIPE, make)


def test_what_a_killed_training_left_half_built_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path / "elsewhere"))
    half = tmp_path / FOLDER / "half.so"
    half.parent.mkdir()
    half.write_bytes(b"\x7fELF")
    with compiling(tmp_path):
        assert os.environ[CACHE] == str(half.parent.resolve())
        assert not half.exists()
        half.parent.mkdir()
        half.touch()
    assert not half.parent.exists()
    assert os.environ[CACHE] == str(tmp_path / "elsewhere")


def test_a_step_that_cannot_be_compiled_is_one_sentence(tmp_path: Path) -> None:
    def refuse(_graph: object, _inputs: object) -> None:
        raise RuntimeError("no such instruction")

    @torch.compile(backend=refuse)
    def step(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    told = r"could not build the training step .*without --compiled"
    with pytest.raises(OptionError, match=told), compiling(tmp_path):
        step(torch.ones(1))
    assert not (tmp_path / FOLDER).exists()
