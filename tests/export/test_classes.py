"""A bundle that is told what its classes are called says it to whoever runs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgekit
from edgekit import cli
from edgekit.errors import OptionError
from edgekit.export.words import parse_classes
from edgekit.models.registry import build

NAMES = ["cat", "dog", "robot", "door", "stairs"]


@pytest.fixture(autouse=True)
def _toys_are_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("toy_networks", None)


def test_names_in_a_file_are_what_run_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, bundle = tmp_path / "labels.txt", tmp_path / "net.edgekit"
    labels.write_text("\n".join(NAMES) + "\n\n", encoding="utf-8")
    export = ["export", "--model", "toy_networks:family", "--out", str(bundle), "--classes", str(labels)]
    assert cli.main([*export, "--no-parity"]) == 0
    manifest = edgekit.load(str(bundle), warmup=0).manifest
    assert manifest.options == {"classes": NAMES}
    assert all(network.options["classes"] == NAMES for network in manifest.networks)
    cv2.imwrite(str(tmp_path / "image.png"), np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    capsys.readouterr()
    assert cli.main(["run", str(bundle), "--image", str(tmp_path / "image.png")]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["cat"], "1 names of classes, and the network has 5 classes"),
        ("labels.txt", "must be the classes' names in their order"),
        ([1, 2, 3, 4, 5], "must be the classes' names in their order"),
    ],
)
def test_names_that_are_not_one_a_class_are_refused(classes: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        edgekit.export(
            model="toy_networks:family", out=tmp_path / "net.edgekit", parity=False, classes=classes
        )
    assert not (tmp_path / "net.edgekit").exists()


def test_a_network_without_classes_takes_no_names(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="anynet is a network for stereo, which has none"):
        edgekit.export(
            model="anynet", size=(64, 128), out=tmp_path / "net.edgekit", parity=False, classes=NAMES
        )


@pytest.mark.parametrize(
    ("content", "said"), [(b"cat\n\ndog\n", "line 2 is empty"), (b"\xff\xfe\x00", "cannot be read as text")]
)
def test_a_file_of_names_that_cannot_be_meant_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(OptionError, match=said):
        parse_classes(str(file))


@pytest.mark.parametrize("family", ["condensenet", "imta", "msdnet", "oqa"])
def test_the_shipped_classifiers_know_what_their_classes_are_called(family: str) -> None:
    classes = build(family, None, {}, None).options["classes"]
    assert isinstance(classes, list)
    assert (classes[0], len(classes)) == ("airplane", 10)
