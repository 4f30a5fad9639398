"""The multi-exit benchmark's peers compute the network, and its bars say what they were given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import multiexit, multiexit_bars, multiexit_native, multiexit_peers, runtimes
from benchmarks.timing import Times
from edgekit.errors import BackendError
from edgekit.kernels import Kernels
from edgekit.models.msdnet import MSDNet, MSDNetOptions

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def net() -> MSDNet:
    return multiexit.random_network(MSDNetOptions(nBlocks=3, base=1, step=1, nChannels=8, growthRate=4))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_runtime_gives_what_the_network_gives(
    net: MSDNet, runtime: str, tmp_path: Path, needs: Callable[[str], ModuleType]
) -> None:
    needs(runtime)
    multiexit_peers.plain_export(net, IMAGE, 3, tmp_path / "x.onnx", dynamo=False)
    peers = {
        "onnxruntime": lambda: runtimes.in_onnxruntime(tmp_path / "x.onnx", 1, {}),
        "openvino": lambda: runtimes.in_openvino(tmp_path / "x.onnx", 1),
    }
    for ours, theirs in zip(peers[runtime]()(IMAGE), runtimes.eager(net)(IMAGE), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_the_uncut_program_gives_what_the_network_gives(net: MSDNet) -> None:
    try:
        kernels = Kernels(threads=1)
    except BackendError as error:
        pytest.skip(f"no C compiler: {error}")
    try:
        found = multiexit_native.uncut_program(net, IMAGE, kernels)(IMAGE)
    finally:
        kernels.close()
    for ours, theirs in zip(found, runtimes.eager(net)(IMAGE), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_bars_compare_with_the_best_plain_export_of_the_same_run() -> None:
    times = Times()
    for name, value in {
        multiexit_bars.PLAIN: 20.0, multiexit_bars.OPENVINO: 10.0, multiexit_bars.UNCUT: 8.0, "stage1": 2.0, "stage2": 6.0,
    }.items():  # fmt: skip
        times.add(name, value)
    best, uncut, first = multiexit_bars.figures(times, [0.25, 0.75])
    assert (best.measured, best.reached) == (0.8, True)
    assert best.what.startswith("edgekit, ONNX Runtime / OpenVINO")
    assert uncut.measured == 1.0 and uncut.reached
    assert first.bar == pytest.approx(1.1 * 0.25 * 8 + 0.2) and first.reached


def test_the_backend_that_counts_is_the_quicker_one() -> None:
    times = Times()
    for name, value in {
        multiexit_bars.PLAIN: 10.0, multiexit_bars.UNCUT: 8.0, "stage1": 2.0, "stage2": 6.0, multiexit_bars.NATIVE_UNCUT: 4.0,
        "native stage1": 3.0, "native stage2": 2.0,
    }.items():  # fmt: skip
        times.add(name, value)
    best, uncut, first, natives, natives_first = multiexit_bars.figures(times, [0.25, 0.75])
    assert (best.what.partition(" / ")[0], best.measured) == ("edgekit, native", 0.5)
    assert (uncut.measured, first.measured) == (1.0, 2.0)
    assert (natives.measured, natives.reached) == (1.25, False)
    assert natives_first.measured == 3.0 and natives_first.bar == pytest.approx(1.1 * 0.25 * 4 + 0.2)
