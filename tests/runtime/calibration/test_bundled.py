"""A calibration in a bundle: sessions leave early by it, what the bundle knew before stays, and no other bundle takes it."""

import json
from pathlib import Path
from typing import Callable, Dict

import numpy as np
import pytest

import edgekit
from edgekit.bundle import Bundle, ExitSpec, amend_bundle, read_bundle
from edgekit.errors import InputError
from edgekit.runtime.calibration.bundled import (
    forget_calibration,
    keep_calibration,
    read_calibration,
    read_calibration_file,
)
from edgekit.runtime.calibration.calibrating import calibrate, from_manifest, to_document, to_manifest
from edgekit.runtime.calibration.costs import counted_costs
from edgekit.runtime.calibration.exiting import exits_taken
from edgekit.runtime.calibration.goals import Goal
from edgekit.runtime.calibration.recorded_logits import Recorded, record
from edgekit.runtime.confidence import confidence
from edgekit.runtime.profile import bundle_hash
from edgekit.runtime.session import Session
from tests.toy_graphs import SIDE, write_exits

EXITS, CLASSES = 3, 4


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_exits(str(tmp_path / "exits.edgekit"), EXITS, CLASSES)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.RandomState(0).randn(400, 3, SIDE, SIDE).astype(np.float32)


def recorded(bundle: Bundle, images: np.ndarray) -> Recorded:
    with Session.open(bundle.path, threads=1, policies=()) as session:
        found = record(session, images, np.zeros(len(images), np.int64), "here")
    return found._replace(labels=found.logits[-1].argmax(axis=1))


def document(bundle: Bundle, images: np.ndarray, measure: str = "probability") -> Dict[str, object]:
    data = recorded(bundle, images)
    found = calibrate(data, counted_costs(bundle.manifest), Goal(shares=(0.5, 0.3, 0.2)), measure)
    return dict(to_document(found), schema=1, bundle=bundle_hash(bundle), network=bundle.manifest.name)


@pytest.mark.parametrize("measure", ["probability", "margin", "entropy"])
def test_a_calibrated_bundle_leaves_early_by_itself_and_every_stage_runs_if_asked(
    bundle: Bundle, images: np.ndarray, measure: str
) -> None:
    told = document(bundle, images, measure)
    keep_calibration(bundle, told)
    data = recorded(bundle, images)
    thresholds, temperatures = told["thresholds"], told["temperatures"]
    assert isinstance(thresholds, dict) and isinstance(temperatures, dict)
    sure = [confidence(logits, measure, one) for logits, one in zip(data.logits, temperatures.values())]
    expected = exits_taken(np.asarray(sure), from_manifest(list(thresholds.values())))
    with edgekit.load(bundle.path, threads=1) as session:
        alone = [session.infer(image=image[None]) for image in images[:60]]
        together = session.infer_batch(images[:60])
    for results in (alone, together):
        assert [result.stage for result in results] == [f"stage{k + 1}" for k in expected[:60]]
        assert {result.reason for result in results} == {"confident", "final"}
    assert len({result.stage for result in alone}) == 3
    with edgekit.load(bundle.path, threads=1, policies=()) as session:
        assert {session.infer(image=image[None]).reason for image in images[:20]} == {"final"}


def test_what_the_bundle_knew_of_its_exits_stays_and_only_what_it_did_not_is_filled_in(
    bundle: Bundle, images: np.ndarray
) -> None:
    known = {"stage1": ExitSpec(None, 0.123, "published"), "stage3": ExitSpec(None, 0.456)}
    bundle = amend_bundle(bundle, bundle.manifest._replace(exits=known), {})
    calibrated = keep_calibration(bundle, document(bundle, images))
    exits = calibrated.manifest.exits
    assert (exits["stage1"].accuracy, exits["stage1"].source) == (0.123, "published")
    assert (exits["stage3"].accuracy, exits["stage3"].source) == (0.456, None)
    assert exits["stage2"].source == "calibration"
    assert [exits[name].threshold is None for name in ("stage1", "stage2", "stage3")] == [False, False, True]
    assert all(spec.temperature for spec in exits.values())
    assert forget_calibration(calibrated).manifest.exits == dict(known, stage2=ExitSpec())


def test_the_record_can_be_read_again_and_a_second_calibration_replaces_it(
    bundle: Bundle, images: np.ndarray
) -> None:
    assert read_calibration(bundle) is None
    first = keep_calibration(bundle, document(bundle, images))
    second = keep_calibration(first, document(first, images[:300]))
    read = read_bundle(bundle.path, check="hash")
    assert read == second
    told = read_calibration(read)
    assert told is not None
    assert told["data"] == {"source": "here", "samples": 300}
    assert isinstance(told["frontier"], list) and len(told["frontier"]) == 25
    assert len(list(Path(bundle.path, "calibration").iterdir())) == 1


def saved(path: Path, told: Dict[str, object]) -> str:
    path.write_text(json.dumps(told), encoding="utf-8")
    return str(path)


def test_a_file_of_the_same_network_in_another_place_is_taken_over(
    bundle: Bundle, images: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "robot").mkdir()
    other = write_exits(str(tmp_path / "robot" / "exits.edgekit"), EXITS, CLASSES)
    told = document(bundle, images)
    kept = keep_calibration(other, read_calibration_file(saved(tmp_path / "t.json", told), other))
    assert {name: spec.threshold for name, spec in kept.manifest.exits.items()} == told["thresholds"]


def test_a_file_of_another_bundle_is_refused(bundle: Bundle, images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write_exits(str(tmp_path / "other" / "exits.edgekit"), EXITS, CLASSES, seed=1)
    with pytest.raises(InputError, match="is the calibration of another bundle"):
        read_calibration_file(saved(tmp_path / "t.json", document(bundle, images)), other)


Change = Callable[[Dict[str, object]], Dict[str, object]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda told: dict(told, thresholds={"stage1": 0.5}),
            r"thresholds for 1 exits \(stage1\), and exits has 3",
        ),
        (lambda told: dict(told, thresholds=[0.5, 0.5, None]), "thresholds for 0 exits"),
        (
            lambda told: dict(told, temperatures=dict.fromkeys(("stage1", "stage2", "stage3"), 0)),
            "must be above 0",
        ),
        (
            lambda told: dict(told, thresholds=dict.fromkeys(("stage1", "stage2", "stage3"), 1.5)),
            "must be from 0 to 1",
        ),
        (lambda told: dict(told, measure="vibes"), "measure is 'vibes'"),
        (lambda told: {"schema": 1}, "is no calibration"),
        (lambda told: dict(told, schema=7), "is no calibration"),
    ],
)
def test_a_file_whose_thresholds_do_not_fit_is_refused(
    bundle: Bundle, images: np.ndarray, tmp_path: Path, change: Change, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_calibration_file(saved(tmp_path / "t.json", change(document(bundle, images))), bundle)


def test_a_file_that_is_none_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{")
    for name in ("t.json", "none.json"):
        with pytest.raises(InputError, match="cannot be read as a calibration"):
            read_calibration_file(str(tmp_path / name), bundle)


def test_thresholds_are_the_same_after_the_manifest() -> None:
    thresholds = [np.inf, 0.25, -np.inf, -np.inf]
    assert to_manifest(thresholds) == [None, 0.25, 0.0, None]
    assert from_manifest(to_manifest(thresholds)).tolist() == [np.inf, 0.25, 0.0, -np.inf]
