"""Labelled samples are read from where users have them, and what cannot be used is refused in a sentence."""

from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import InputError
from edgekit.runtime.calibration.labelled import Labelled, class_names, read_labelled
from edgekit.runtime.calibration.recorded_logits import (
    Recorded,
    check_labels,
    check_recorded,
    classes_of,
    record,
    write_recorded,
)
from edgekit.runtime.pictures import write_png
from edgekit.runtime.profile import bundle_hash
from edgekit.runtime.session import Session
from tests.toy_graphs import SIDE, exits_logits, exits_weights, write_exits

EXITS, CLASSES = 3, 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_exits(str(tmp_path_factory.mktemp("bundle") / "exits.edgekit"), EXITS, CLASSES)


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(exist_ok=True)
    write_png(str(path), np.full((SIDE, SIDE, 3), grey, np.uint8))


def test_a_folder_a_class_is_read_in_order(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "ant", "bee", "dog")):
        picture(tmp_path / name / "one.png", number)
    (tmp_path / "bee" / "notes.txt").write_text("no picture")
    found = read_labelled(str(tmp_path), None, CLASSES)
    assert isinstance(found, Labelled)
    assert found.labels.tolist() == [0, 1, 2, 3]  # ant, bee, cat, dog
    assert [int(np.asarray(found.pictures[k])[0, 0, 0]) for k in range(4)] == [1, 2, 0, 3]


def test_folders_may_be_named_by_number_or_by_the_classes_of_the_bundle(tmp_path: Path) -> None:
    for name in ("3", "1"):
        picture_in(tmp_path / "numbers" / name)
    found = read_labelled(str(tmp_path / "numbers"), None, CLASSES)
    assert found.labels.tolist() == [1, 3]
    for name in ("dog", "ant"):
        picture_in(tmp_path / "names" / name)
    found = read_labelled(
        str(tmp_path / "names"), None, CLASSES, class_names({"classes": ["dog", "cow", "ant", "bee"]})
    )
    assert found.labels.tolist() == [2, 0]


def picture_in(folder: Path) -> None:
    folder.mkdir(parents=True)
    picture(folder / "one.png", 0)


def test_a_list_of_files_and_classes_is_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name, 7)
    (tmp_path / "labels.csv").write_text("file,label\nb.png,3\na.png,0\n")
    found = read_labelled(str(tmp_path), str(tmp_path / "labels.csv"), CLASSES)
    assert isinstance(found, Labelled)
    assert found.labels.tolist() == [3, 0]
    assert len(found.pictures) == 2


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(str(path), **arrays)  # type: ignore[arg-type]
    return str(path)


def test_arrays_are_read_with_their_labels_or_others(tmp_path: Path) -> None:
    images = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    both = read_labelled(save(tmp_path / "a.npz", images=images, labels=np.arange(3)), None, CLASSES)
    assert both.labels.tolist() == [0, 1, 2]
    (tmp_path / "l.csv").write_text("2\n1\n0\n")
    np.save(str(tmp_path / "l.npy"), np.array([2, 1, 0]))
    for labels in ("l.csv", "l.npy"):
        alone = read_labelled(save(tmp_path / "b.npz", images=images), str(tmp_path / labels), CLASSES)
        assert alone.labels.tolist() == [2, 1, 0]


def test_logits_are_recorded_once_and_read_again(tmp_path: Path, bundle: Bundle) -> None:
    images = np.random.RandomState(0).randn(300, 3, SIDE, SIDE).astype(np.float32)
    labels = np.arange(300) % CLASSES
    told = []
    with Session.open(bundle.path, threads=1, policies=()) as session:
        recorded = record(session, images, labels, "here", told.append)
    assert told == [256, 300]
    assert recorded.logits == pytest.approx(exits_logits(images, exits_weights(EXITS, CLASSES)), abs=1e-4)
    write_recorded(str(tmp_path / "logits.npz"), recorded)
    again = read_labelled(str(tmp_path / "logits.npz"), None, CLASSES)
    assert isinstance(again, Recorded)
    check_recorded(again, bundle.manifest, bundle_hash(bundle))
    assert (again.logits == recorded.logits).all() and (again.labels == labels).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.arange(50) % 5}, "10 labels are outside of 0 to 3, the first one 4 of sample 4"),
        ({"labels": np.arange(50) % 4 - 1}, "labels are outside of 0 to 3, the first one -1 of sample 0"),
        ({"labels": np.arange(49) % 4}, "49 labels for 50 samples"),
        ({"labels": np.full(50, 2)}, "all 50 labels are 2"),
        ({"labels": np.arange(50) % 4 / 1.0}, "must be whole numbers"),
        (
            {"logits": np.zeros((2, 50, 4), np.float32)},
            "logits of 2 exits and 4 classes, and exits has 3 exits",
        ),
        ({"logits": np.zeros((3, 50, 5), np.float32)}, "logits of 3 exits and 5 classes"),
        ({"logits": np.zeros((3, 50), np.float32)}, r"must be floats \(exits, samples, classes\)"),
        ({"logits": np.zeros((3, 0, 4), np.float32), "labels": np.zeros(0, int)}, "there are no samples"),
        ({"bundle": "another"}, "recorded from another bundle"),
    ],
)
def test_samples_that_say_nothing_are_refused(bundle: Bundle, change: Dict[str, object], said: str) -> None:
    usable = Recorded(np.zeros((3, 50, 4), np.float32), np.arange(50) % 4, "here", bundle_hash(bundle))
    check_recorded(usable, bundle.manifest, bundle_hash(bundle))
    with pytest.raises(InputError, match=said):
        check_recorded(usable._replace(**change), bundle.manifest, bundle_hash(bundle))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_refused_with_where_they_are(bundle: Bundle, value: float) -> None:
    logits = np.zeros((3, 50, 4), np.float32)
    logits[1, 17, 2] = value
    with pytest.raises(
        InputError, match="1 of the answers hold NaN or Inf, the first one stage2's of sample 17"
    ):
        check_recorded(Recorded(logits, np.arange(50) % 4, "here"), bundle.manifest, "")


def test_a_network_without_classes_is_refused(stereo_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="toy is a network for stereo"):
        classes_of(stereo_bundle.manifest)


def test_exits_that_tell_different_numbers_of_classes_apart_are_refused(bundle: Bundle) -> None:
    last = bundle.manifest.stages[-1]
    outputs = tuple(
        spec._replace(shape=(1, CLASSES + 1)) if spec.name == last.exit else spec for spec in last.outputs
    )
    stages = (*bundle.manifest.stages[:-1], last._replace(outputs=outputs))
    with pytest.raises(InputError, match=r"different numbers of classes.*4.*5"):
        classes_of(bundle.manifest._replace(stages=stages))


def test_files_that_hold_no_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no archive")
    np.save(str(tmp_path / "one.npy"), np.zeros(3))
    for name in ("a", "b", "c"):
        picture_in(tmp_path / "three" / name)
    (tmp_path / "hollow" / "0").mkdir(parents=True)
    (tmp_path / "bad.csv").write_text("a/one.png,1\na/one.png,first\n")
    (tmp_path / "lost.csv").write_text("d/one.png,1\n")
    for path, labels, said in (
        ("nothing", None, "there is no such file"),
        ("empty", None, "no folders, one for each class, and no labels"),
        ("text.npz", None, "cannot be read as an .npz"),
        ("one.npy", None, "is a single array"),
        ("three", None, "has 3 folders and the network 4 classes"),
        ("hollow", None, "hold no pictures"),
        ("three", "bad.csv", r"a/one.png,first' \(line 2\) is no file and class"),
        ("three", "lost.csv", "names d/one.png, which is not in"),
        ("three", "none.csv", "cannot be read"),
        (Path(save(tmp_path / "n.npz", pictures=np.zeros(3))).name, None, "has pictures; images or logits are needed"),
        (Path(save(tmp_path / "i.npz", images=np.zeros(3))).name, None, "images and no labels"),
        (Path(save(tmp_path / "g.npz", logits=np.zeros(3))).name, None, "logits and no labels"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read_labelled(str(tmp_path / path), None if labels is None else str(tmp_path / labels), CLASSES)


def test_labels_for_no_samples_are_refused() -> None:
    with pytest.raises(InputError, match="there are no samples"):
        check_labels(np.zeros(0, np.int64), 0, CLASSES, "here")
