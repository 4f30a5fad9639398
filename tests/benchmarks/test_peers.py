"""The peers answer the same question: the plain export and the cut-off network compute what PyTorch does."""

from pathlib import Path

import numpy as np
import torch

from benchmarks import peers, runtimes
from benchmarks.figures import KNOWN_EPE
from edgekit.models.anynet import AnyNet, build
from edgekit.models.evaluate_stereo import epe_d1, load_pairs


def random_views(size: tuple[int, int]) -> list[runtimes.Array]:
    random = np.random.default_rng(5)
    return [random.standard_normal((1, 3, *size), dtype=np.float32) for _ in range(2)]


def test_the_network_without_propagation_has_the_same_first_three_exits() -> None:
    torch.manual_seed(0)
    net = AnyNet().eval()
    views = random_views((64, 96))
    whole, three = runtimes.eager(net)(*views), runtimes.eager(peers.without_propagation(net))(*views)
    assert len(whole) == 4 and len(three) == 3
    for a, b in zip(whole, three, strict=False):
        np.testing.assert_array_equal(a, b)


def test_a_plain_export_computes_in_onnx_runtime_what_pytorch_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = peers.without_propagation(AnyNet().eval())
    graph, views = tmp_path / "plain.onnx", random_views((64, 96))
    peers.plain_export(net, (64, 96), graph, dynamo=False)
    for ours, theirs in zip(
        runtimes.in_onnxruntime(graph, 1)(*views), runtimes.eager(net)(*views), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-2)


def test_the_authors_weights_reach_their_known_errors_on_kitti(shared: Path) -> None:
    pairs = {pair.name: pair for pair in load_pairs(shared / "data" / "stereo")}
    for name, known in KNOWN_EPE.items():
        pair = pairs[name]
        height, width = pair.left.shape[:2]
        staged = build(shared / "data" / "anynet" / "kitti2015_checkpoint.tar", {}, (height, width))
        mean, std = (
            np.asarray(values, np.float32) for values in (staged.inputs[0].mean, staged.inputs[0].std)
        )
        views = [
            ((view.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None]
            for view in (pair.left, pair.right)
        ]
        exits = runtimes.eager(staged.net)(*(np.ascontiguousarray(view) for view in views))
        for exit_, epe in zip(exits, known, strict=True):
            assert abs(epe_d1(exit_[0, 0], pair.disparity, pair.valid)[0] - epe) <= 0.02
