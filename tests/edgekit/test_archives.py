"""Archives that would unpack to far too much are refused before anything of them is unpacked."""

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.archives import too_large
from edgekit.bundle import write_bundle
from edgekit.errors import BundleError, InputError
from edgekit.runtime.calibration.labelled import read_labelled
from edgekit.runtime.loading import read_golden
from tests.toy_graphs import stereo_files, stereo_manifest


def bomb(**arrays: np.ndarray) -> bytes:
    """An .npz whose directory declares 3 GB for each of its arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    data = bytearray(file.getvalue())
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 24 : place + 28] = struct.pack("<I", 3 << 30)  # the size that a member unpacks to
        place = data.find(b"PK\x01\x02", place + 1)
    return bytes(data)


def test_honest_archives_are_read_however_well_they_are_packed() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, zeros=np.zeros(20_000_000, np.uint8))
    assert too_large(file, len(file.getvalue())) is None
    assert too_large(io.BytesIO(b"no archive"), 10) is None


def test_labelled_pictures_that_would_fill_the_memory_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(bomb(images=np.zeros((4, 4, 4, 3), np.uint8), labels=np.zeros(4, np.int64)))
    begun = time.perf_counter()
    with pytest.raises(InputError, match=r"data\.npz: refused, its .* MB would unpack to 6\.4 GB"):
        read_labelled(str(path), None, 4)
    assert time.perf_counter() - begun < 1.0


def test_golden_arrays_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    files = stereo_files()
    files["golden/golden.npz"] = bomb(left=np.zeros(4))
    bundle = write_bundle(str(tmp_path / "toy.edgekit"), stereo_manifest(files), files)
    with pytest.raises(BundleError, match=r"golden\.npz: refused, its .* would unpack to 3\.2 GB"):
        read_golden(bundle)
