"""Checkpoints as users have them: damaged ones and other files in their place are refused in a sentence, whatever torch makes of them."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgekit.errors import CheckpointError
from edgekit.models.checkpoint import read_state_dict

WEIGHTS = {f"layer{k}.weight": torch.randn(3, 5) for k in range(4)}


def _saved(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_weights_are_found_in_every_wrapping(
    tmp_path: Path, wrapper: str | None, prefix: str, zipped: bool
) -> None:
    named = {prefix + name: tensor for name, tensor in WEIGHTS.items()}
    content = named if wrapper is None else {"epoch": 3, wrapper: named, "optimizer": {"state": {}}}
    found = read_state_dict(_saved(tmp_path / "a.tar", content, zipped))
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_or_changed_anywhere_is_read_or_refused_in_a_sentence(
    tmp_path: Path, zipped: bool
) -> None:
    whole = _saved(tmp_path / "whole.tar", {"state_dict": WEIGHTS, "epoch": 3}, zipped).read_bytes()
    rng, damaged = random.Random(0), tmp_path / "damaged.tar"
    for turn in range(120):
        place = rng.randrange(len(whole))
        changed = whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        damaged.write_bytes(whole[:place] if turn % 2 else changed)
        try:
            read_state_dict(damaged)
        except CheckpointError as error:
            assert str(error).startswith(f"{damaged}: ")


@pytest.mark.parametrize(
    "begin",
    [
        b"<!DOCTYPE html>404",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x1f\x8b\x08\x00",
        b"\x89PNG\r\n",
        b"",
    ],
)
def test_another_file_in_its_place_is_not_called_unsafe(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(begin)
    with pytest.raises(CheckpointError, match=r"not a torch checkpoint.*get the file itself"):
        read_state_dict(tmp_path / "a.tar")


def test_a_directory_in_its_place_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a directory; name the checkpoint file in it"):
        read_state_dict(tmp_path)


class _RunsCode:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("reading_ran_code",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _saved(tmp_path / "a.tar", {"state_dict": WEIGHTS, "args": _RunsCode()}, zipped)
    with pytest.raises(CheckpointError, match="reading that could run code; load it where you trust it"):
        read_state_dict(path)
    assert not Path("reading_ran_code").exists()


def test_a_bare_pickle_is_refused_in_one_sentence_without_a_warning_beside_it(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(_RunsCode(), protocol=4))
    with pytest.raises(CheckpointError, match="reading that could run code"):
        read_state_dict(tmp_path / "a.pkl")
    assert not recwarn.list


def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path: Path) -> None:
    for odd in (torch.eye(3).to_sparse(), torch.ones(3, device="meta"), torch.ones(3, dtype=torch.complex64)):
        with pytest.raises(CheckpointError, match="layer9 is no plain tensor"):
            read_state_dict(_saved(tmp_path / "a.tar", {"state_dict": {**WEIGHTS, "layer9": odd}}))


def test_a_dictionary_that_holds_itself_holds_no_weights(tmp_path: Path) -> None:
    endless: dict[str, object] = {}
    endless["state_dict"] = endless
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_state_dict(_saved(tmp_path / "a.tar", endless))


def test_a_checkpoint_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    whole, swollen = _saved(tmp_path / "whole.tar", WEIGHTS), tmp_path / "swollen.tar"
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(swollen, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy,
    ):
        for entry in source.infolist():
            copy.writestr(entry.filename, source.read(entry))
        with copy.open(f"{source.namelist()[0].split('/')[0]}/data/99", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(bytes(1 << 20))
    with pytest.raises(CheckpointError, match=r"swollen\.tar: refused, its .* MB would unpack to 0\.3 GB"):
        read_state_dict(swollen)
