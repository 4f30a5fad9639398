"""Measured profiles and what they are valid for."""

import json
import os
from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import BundleError
from edgekit.runtime.device.fingerprint import UNKNOWN, Fingerprint, read_fingerprint
from edgekit.runtime.profile import (
    KEPT,
    Profile,
    StageProfile,
    bundle_hash,
    profile_path,
    read_profile,
    write_profile,
)
from edgekit.runtime.session import Session
from tests.toy_graphs import stereo_files, stereo_manifest, write_bundle

HERE = Fingerprint(
    "Xavier NX 8GB", "7.2", "8.2.1", "10.2", "32.7.1", "MODE_15W_6CORE", "ARMv8", "6", "tensorrt 8.2.1"
)
DURATIONS = {"stage1": (8.0, 9.0, 10.0), "stage2": (1.0, 2.0, 3.0), "stage3": (1.0,), "stage4": (4.0, 5.0)}


def profile(bundle: Bundle, fingerprint: Fingerprint = HERE, stage2: str = "plain") -> Profile:
    variants = {"stage2": stage2}
    stages = {name: StageProfile(variants.get(name, "plain"), runs) for name, runs in DURATIONS.items()}
    return Profile(fingerprint, bundle_hash(bundle), stages)


@pytest.fixture
def bundle(stereo_path: Path) -> Bundle:
    return read_bundle(stereo_path)


def test_a_profile_that_was_written_is_read(bundle: Bundle) -> None:
    written = profile(bundle)
    path = write_profile(bundle, written)
    assert path == profile_path(bundle, HERE)
    assert read_profile(bundle, HERE) == written
    read_bundle(bundle.path, check="hash")  # and the bundle is still what it was


def test_every_field_of_the_fingerprint_counts(bundle: Bundle) -> None:
    write_profile(bundle, profile(bundle))
    for field in HERE._fields:
        other = HERE._replace(**{field: "something else"})
        assert other.key != HERE.key
        assert read_profile(bundle, other) is None


def test_a_profile_of_other_graphs_does_not_count(bundle: Bundle, tmp_path: Path) -> None:
    path = write_profile(bundle, profile(bundle))
    other = write_bundle(
        tmp_path / "other.edgekit", stereo_manifest(stereo_files())._replace(name="n"), stereo_files()
    )
    place = Path(profile_path(other, HERE))
    place.parent.mkdir()
    place.write_bytes(Path(path).read_bytes())
    assert read_profile(other, HERE) is None


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"schema": 1}', b'{"schema": 99}', b"\xff\xfe", b"null"],
)
def test_a_damaged_profile_counts_as_none(bundle: Bundle, damage: bytes) -> None:
    path = Path(write_profile(bundle, profile(bundle)))
    path.write_bytes(damage)
    assert read_profile(bundle, HERE) is None


@pytest.mark.parametrize(
    "change",
    [
        {"variant": "gone"},
        {"durations_ms": []},
        {"durations_ms": [1.0, -2.0]},
        {"durations_ms": [0.0]},
        {"durations_ms": "x"},
    ],
)
def test_a_profile_that_does_not_fit_its_bundle_counts_as_none(
    bundle: Bundle, change: Dict[str, object]
) -> None:
    path = Path(write_profile(bundle, profile(bundle)))
    document = json.loads(path.read_text())
    document["stages"]["stage2"].update(change)
    path.write_text(json.dumps(document))
    assert read_profile(bundle, HERE) is None


def test_thousands_of_runs_are_thinned_without_moving_their_quantiles(bundle: Bundle) -> None:
    runs = tuple(sorted(np.random.RandomState(0).lognormal(2, 0.2, 20_000)))
    write_profile(bundle, Profile(HERE, bundle_hash(bundle), {"stage1": StageProfile("plain", runs)}))
    kept = read_profile(bundle, HERE)
    assert kept is not None
    assert len(kept.stages["stage1"].durations) == KEPT
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        expected = float(np.quantile(runs, share))
        assert float(np.quantile(kept.stages["stage1"].durations, share)) == pytest.approx(expected, rel=0.03)


def test_a_session_takes_durations_and_variants_from_the_profile_measured_here(bundle: Bundle) -> None:
    with Session.open(bundle.path) as session:
        assert session.profile is None
        here = session.fingerprint
    slow = {name: StageProfile("plain", tuple(1000.0 + k for k in range(200))) for name in DURATIONS}
    write_profile(bundle, Profile(here, bundle_hash(bundle), slow))
    with Session.open(bundle.path, warmup=0) as session:
        assert session.variants["stage2"] == "plain"  # not the bundle's default, "swapped"
        assert session.latency.predict("stage2") == pytest.approx(1198.0)
    with Session.open(bundle.path, warmup=0, variants={"stage2": "swapped"}) as session:
        assert session.variants["stage2"] == "swapped"
        assert session.latency.predict("stage2") is None  # nobody measured this one
        assert session.latency.predict("stage1") == pytest.approx(1198.0)


def test_a_bundle_on_a_read_only_disk_runs_and_only_the_profile_cannot_be_kept(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*rest: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    real = open

    def open_to_read(file: object, mode: str = "r", *rest: object, **options: object) -> object:
        assert mode in ("r", "rb"), f"{file} opened with {mode}"
        return real(file, mode, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "mkdir", refused)
    monkeypatch.setattr(os, "makedirs", refused)
    monkeypatch.setattr("builtins.open", open_to_read)
    with Session.open(bundle.path) as session:
        assert session.infer(**session.golden()[0]).reason == "final"
    with pytest.raises(BundleError, match="read-only file system; the bundle works without"):
        write_profile(bundle, profile(bundle))


# --- The fingerprint --------------------------------------------------------------------------------------------------


def test_a_jetson_is_recognised_by_its_files(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3509-0000+p3668-0001\0nvidia,tegra194\0",
        "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: x",
        "usr/local/cuda/version.txt": "CUDA Version 10.2.300",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >\n",
        "var/lib/nvpmodel/status": "pmode:0002",
        "proc/cpuinfo": "CPU implementer\t: 0x4e\nCPU part\t: 0x004\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_fingerprint("onnxruntime 1.10.0", 6, root=str(tmp_path))
    assert found[:6] == ("Xavier NX 8GB", "7.2", UNKNOWN, "10.2.300", "32.7.1", "MODE_15W_6CORE")
    assert found.key.startswith("xavier-nx-8gb-onnxruntime-1.10.0-")


def test_elsewhere_only_the_processor_and_the_backend_are_known(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU @ 3 GHz\n")
    found = read_fingerprint("onnxruntime 1.31.0", 2, root=str(tmp_path))
    assert found == Fingerprint(*[UNKNOWN] * 6, "Some CPU @ 3 GHz", "2", "onnxruntime 1.31.0")
    assert "/" not in found.key
    assert read_fingerprint("x", 1, root=str(tmp_path / "nothing")).module == UNKNOWN
