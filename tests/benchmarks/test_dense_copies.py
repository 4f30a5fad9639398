"""The copies of a dense network are counted layer by layer from a profile, and the chunked form joins a feature once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.dense_copies import Copies, copies, program_copies
from benchmarks.runtimes import plain_export
from edgekit.export.convert import convert, serialize
from edgekit.export.lowering.condensenet import LoweredCondenseNet
from edgekit.export.native import program
from edgekit.export.passes import simplify
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions, converted

OPTIONS = CondenseNetOptions(stages=(6, 4), growth=(16, 32), data="cifar10", num_classes=10)
SIDE = 32


@pytest.fixture(scope="module")
def net() -> CondenseNet:
    torch.manual_seed(0)
    net = CondenseNet(OPTIONS)
    net.condense(1.0)
    return converted(net)


def _counted(module: nn.Module, options: CondenseNetOptions = OPTIONS) -> Copies:
    model = simplify(convert(module, {"image": torch.zeros(1, 3, SIDE, SIDE)}, ["logits1"], "net"))
    return copies(serialize(model), options, SIDE)


def test_what_layers_add_is_their_new_features(net: CondenseNet) -> None:
    counted = _counted(LoweredCondenseNet(net, ["chunks-joined"] * 2).eval())
    assert [[layer.added for layer in block] for block in counted.blocks] == [
        [16 * 32 * 32 * 4] * 6,
        [32 * 16 * 16 * 4] * 4,
    ]


def test_the_chunked_form_never_copies_more_than_was_added_up_to_any_layer(net: CondenseNet) -> None:
    """Where three new chunks are joined, their layer copies for the two before it; in between, nothing is copied."""
    counted = _counted(LoweredCondenseNet(net, ["chunks-joined"] * 2).eval())
    joined = [layer.joined // layer.added for layer in counted.blocks[0]]
    assert joined == [0, 0, 3, 0, 0, 3]
    assert all(layer.moved == 0 for layer in counted.blocks[0])
    assert counted.worst_so_far <= 1


@pytest.mark.parametrize("growth", [(16, 32), (8, 16), (12, 24)])
def test_chunks_that_stay_apart_are_copied_by_no_layer(growth: tuple[int, int]) -> None:
    """Growths of 12 and 24, and the stem's 24 maps, fill no lanes: channels without a feature keep them where they are."""
    options = replace(OPTIONS, growth=growth)
    torch.manual_seed(0)
    net = CondenseNet(options)
    net.condense(1.0)
    counted = _counted(LoweredCondenseNet(converted(net), ["chunks-apart"] * 2).eval(), options)
    assert counted.worst_layer == 0


def test_the_fetched_form_joins_all_features_in_every_layer_and_brings_them_out_of_the_blocked_layout(
    net: CondenseNet,
) -> None:
    first = _counted(LoweredCondenseNet(net, ["fetch-parts"] * 2).eval()).blocks[0]
    width = [OPTIONS.inputs(0, k + 1) for k in range(len(first))]
    growth = OPTIONS.growth[0]
    assert [layer.joined * growth // layer.added for layer in first] == width
    # All of them out; fetched, and filled up to the lanes, what the groups of the next layer read, and that in.
    for layer, features in zip(first[:-1], width, strict=False):
        taps = features // OPTIONS.condense_factor
        fetched = OPTIONS.group_1x1 * taps, OPTIONS.group_1x1 * -(-taps // 16) * 16
        least, most = (layer.added * (features + 2 * n) // growth for n in fetched)
        assert least <= layer.moved <= most


def test_the_plain_export_copies_many_times_what_it_adds(net: CondenseNet, tmp_path: Path) -> None:
    path = tmp_path / "plain.onnx"
    plain_export(net, {"image": torch.zeros(1, 3, SIDE, SIDE)}, ["logits"], path, dynamo=True)
    counted = copies(path.read_bytes(), OPTIONS, SIDE)
    assert counted.worst_layer > 5
    assert all(layer.joined >= layer.added for block in counted.blocks for layer in block)


def test_a_program_copies_where_a_stride_wants_planes_of_its_own_and_nowhere_else() -> None:
    def of(*layers: nn.Module) -> int:
        net = nn.Sequential(*layers).eval()
        return program_copies(program(simplify(convert(net, {"image": torch.zeros(1, 3, 16, 16)}, ["y"]))))

    assert (
        of(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1)) == 0
    )  # its picture comes in by phases
    assert of(nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 2, 1)) == 8 * 16 * 16 * 4
