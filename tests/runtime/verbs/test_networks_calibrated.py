"""Early exits in a bundle of several networks: each network is calibrated and judged by its name, beside the others."""

import json
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.bundle import read_bundle
from edgekit.cli import main
from edgekit.runtime.calibration.bundled import read_calibration
from tests.toy_graphs import write_alternatives

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return write_alternatives(str(tmp_path / "choice.edgekit")).path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    random = np.random.RandomState(0)
    path = str(tmp_path_factory.mktemp("data") / "data.npz")
    labels = np.arange(300) % 3
    images = random.randint(0, 200, (300, 8, 8, 3))
    images[np.arange(300), :, :, labels] += 30
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def calibrated(bundle: str, data: str, network: str, *words: str) -> int:
    shares = "0.5,0.5" if network == "medium" else "1"
    return main(["calibrate", bundle, "--data", data, "--network", network, "--shares", shares, *words])


def test_a_network_must_be_named(bundle: str, data: str, capsys: Printed) -> None:
    for words in (["calibrate", "--shares", "0.5,0.5"], ["bench", "--runs", "3"]):
        assert main([words[0], bundle, "--data", data, *words[1:]]) == 2
        assert (
            "is for one network: add --network NAME, which is one of small, medium, large"
            in capsys.readouterr().err
        )


def test_thresholds_are_found_for_one_network_and_leave_the_others_as_they_were(
    bundle: str, data: str, capsys: Printed
) -> None:
    before = read_bundle(bundle).manifest
    assert calibrated(bundle, data, "medium", "--no-temperature", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == "medium"
    after = read_bundle(bundle, check="hash").manifest
    assert after.exits["stage2"].threshold == told["thresholds"]["stage2"] is not None
    assert after.exits["stage2"].accuracy == 0.5  # known before
    assert {name: after.exits[name] for name in ("stage1", "stage4")} == {
        name: before.exits[name] for name in ("stage1", "stage4")
    }
    pictures = np.load(data)["images"][:60]
    with edgekit.load(bundle, network="medium") as session:
        alone = [session.infer(image=picture) for picture in pictures]
    assert {result.reason for result in alone} == {"confident", "final"}
    assert len({result.stage for result in alone}) == 2


def test_what_was_found_of_each_network_is_kept_and_taken_out_by_its_name(
    bundle: str, data: str, capsys: Printed
) -> None:
    assert calibrated(bundle, data, "medium") == 0
    assert calibrated(bundle, data, "small") == 0
    both = read_bundle(bundle, check="hash")
    for name in ("medium", "small"):
        found = read_calibration(both, name)
        assert found is not None and found["network"] == name
    small = read_calibration(both, "small")
    assert read_calibration(both, "large") is None
    assert len(list(Path(bundle, "calibration").iterdir())) == 1
    assert main(["calibrate", bundle, "--clear", "--network", "medium"]) == 0
    assert "every frame of medium runs every stage" in capsys.readouterr().out
    left = read_bundle(bundle, check="hash")
    assert read_calibration(left, "medium") is None
    assert read_calibration(left, "small") == small
    assert left.manifest.exits["stage2"].threshold is None
    assert main(["calibrate", bundle, "--clear"]) == 0
    assert read_bundle(bundle).manifest.calibration is None


def test_networks_of_one_bundle_are_calibrated_by_one_measure(
    bundle: str, data: str, capsys: Printed
) -> None:
    assert calibrated(bundle, data, "medium", "--measure", "margin") == 0
    assert calibrated(bundle, data, "small") == 2
    assert "medium was calibrated by margin" in capsys.readouterr().err
    assert read_calibration(read_bundle(bundle), "small") is None


def test_a_calibration_is_taken_over_for_the_network_that_it_is_of(
    bundle: str, data: str, tmp_path: Path, capsys: Printed
) -> None:
    saved = str(tmp_path / "thresholds.json")
    assert calibrated(bundle, data, "medium", "--save", saved) == 0
    (tmp_path / "robot").mkdir()
    other = write_alternatives(str(tmp_path / "robot" / "choice.edgekit")).path
    assert main(["calibrate", other, "--apply", saved, "--network", "large"]) == 2
    assert "is the calibration of another bundle (medium" in capsys.readouterr().err
    assert main(["calibrate", other, "--apply", saved, "--network", "medium"]) == 0
    assert read_bundle(other).manifest.exits == read_bundle(bundle).manifest.exits


def test_whether_early_exits_pay_is_told_of_the_network_that_is_named(
    bundle: str, data: str, capsys: Printed
) -> None:
    assert calibrated(bundle, data, "medium") == 0
    capsys.readouterr()
    words = [
        "--data",
        data,
        "--samples",
        "60",
        "--runs",
        "5",
        "--warmup",
        "1",
        "--network",
        "medium",
        "--json",
    ]
    assert main(["bench", bundle, *words]) == 0
    told = json.loads(capsys.readouterr().out)["early_exits"]
    assert list(told["exits"]) == ["stage2", "stage3"]
    assert told["thresholds"] is not None
