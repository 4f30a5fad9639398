"""A bundle that is given another manifest is the old one or the new one at every moment, and nothing else is left behind."""

import errno
import os
from pathlib import Path

import pytest

from edgekit import atomic
from edgekit.bundle import Bundle, CalibrationSpec, ExitSpec, Manifest, amend_bundle, read_bundle
from edgekit.errors import BundleError
from edgekit.runtime.profile import bundle_hash
from tests.toy_graphs import write_stereo

RECORD = "calibration/one.json"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_stereo(str(tmp_path / "toy.edgekit"))


def calibrated(bundle: Bundle, record: str = RECORD) -> Manifest:
    exits = dict(bundle.manifest.exits, stage1=ExitSpec(0.75, 0.5, None, 1.25))
    return bundle.manifest._replace(exits=exits, calibration=CalibrationSpec("margin", record))


def everything(path: str) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(folder, name), path)
        for folder, _, names in os.walk(path)
        for name in names
    )


def test_what_was_amended_is_read_with_every_hash_right(bundle: Bundle) -> None:
    amended = amend_bundle(bundle, calibrated(bundle), {RECORD: b"{}"})
    read = read_bundle(bundle.path, check="hash")
    assert read == amended
    assert read.read_bytes(RECORD) == b"{}"
    assert read.manifest.exits["stage1"] == ExitSpec(0.75, 0.5, None, 1.25)
    assert read.manifest.exits["stage4"] == bundle.manifest.exits["stage4"]
    assert bundle_hash(read) == bundle_hash(bundle)  # measured profiles stay valid


def test_a_file_that_is_no_longer_listed_is_removed(bundle: Bundle) -> None:
    first = amend_bundle(bundle, calibrated(bundle), {RECORD: b"{}"})
    kept = {name: entry for name, entry in first.manifest.files.items() if name != RECORD}
    second = calibrated(bundle, "calibration/two.json")._replace(files=kept)
    amend_bundle(first, second, {"calibration/two.json": b"{} "})
    assert not os.path.exists(os.path.join(bundle.path, RECORD))
    assert read_bundle(bundle.path, check="hash").manifest.calibration == second.calibration


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("victim", ["one.json", "manifest.json"])
def test_whatever_interrupts_the_amending_leaves_the_bundle_as_it_was(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: BaseException, victim: str
) -> None:
    before = everything(bundle.path)
    write_file = atomic.write_file

    def failing(path: str, data: bytes) -> None:
        if path.endswith(victim):
            raise error
        write_file(path, data)

    monkeypatch.setattr(atomic, "write_file", failing)
    with pytest.raises(BundleError if isinstance(error, OSError) else KeyboardInterrupt):
        amend_bundle(bundle, calibrated(bundle), {RECORD: b"{}"})
    assert everything(bundle.path) == before
    assert read_bundle(bundle.path, check="hash") == bundle


def test_a_bundle_that_somebody_else_changed_meanwhile_is_not_overwritten(bundle: Bundle) -> None:
    amend_bundle(bundle, calibrated(bundle), {RECORD: b"{}"})
    with pytest.raises(BundleError, match="changed by another program"):
        amend_bundle(bundle, calibrated(bundle, "calibration/two.json"), {"calibration/two.json": b"{}"})


def test_a_record_that_is_not_there_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"one\.json' is used but not listed"):
        amend_bundle(bundle, calibrated(bundle), {})


def test_a_manifest_without_a_calibration_reads_and_writes_as_before(bundle: Bundle) -> None:
    document = bundle.manifest.to_json()
    assert "calibration" not in document
    assert document["exits"] == {
        "stage1": {"threshold": None, "accuracy": 0.5},
        "stage4": {"threshold": 0.25, "accuracy": None},
    }
