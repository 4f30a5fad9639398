"""AnyNet's stages as programs, made of their modules: no graph says so directly what is read, and how often.

Both views are as one map of twice the channels. A 3-D convolution is a unit a slice that reads the slices beside it, and nothing at
the ends of a volume. Stage 4 computes on transposed planes: what a column of the picture passes on to the next is one run of memory.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn

from edgekit.export.lowering.batch_norm import Chain, Kernel, fold_chain, kernel_of
from edgekit.export.native.draft import Draft
from edgekit.export.native.fewer import with_fewer_products
from edgekit.export.native.memory import written
from edgekit.export.native.nodes import Unsupported
from edgekit.export.native.planes import Before, Convolution, Export, Floats, Grid, Maps, Places, Pool, Unit
from edgekit.export.native.stages import programs_of
from edgekit.export.native.stereo import Axis, Expectation, Propagate, Resize, Stem, Transpose, Volume
from edgekit.export.staging import StageRun
from edgekit.models.anynet import SCALES, SPN_SCALE, AnyNet, CoarseStage, PropagationStage, RefinedStage
from edgekit.program import Program

VIEWS = 2
# A unit of one output waits for what it reads. One of two neighbouring slices reads two thirds as much, with a third of it for nothing.
LEAST_OUTPUTS = 2
Size = tuple[int, int]


@programs_of(CoarseStage)
def coarse(run: StageRun) -> Program:
    """Stage 1: the encoder of both views, and the disparity at 1/16."""
    module = run.stage.module
    assert isinstance(module, CoarseStage)
    net, size, draft = module.net, _size(run), _draft(run)
    blocks = net.feature_extraction.blocks
    skip4 = _stem(draft, net.feature_extraction.block0, size)
    skip8 = _down(draft, skip4, blocks[0])  # type: ignore[arg-type]
    features = _down(draft, skip8, blocks[1])  # type: ignore[arg-type]
    slices = net.options.maxdisplist[0]
    _head(draft, net, 0, features, None, (0, 1, slices))
    draft.steps += [Export(maps, number) for number, maps in enumerate((features, skip8, skip4), 1)]
    return _program(draft, run)


@programs_of(RefinedStage)
def refined(run: StageRun) -> Program:
    """Stages 2 and 3: a step of the decoder, and the residuals of the disparity so far."""
    module = run.stage.module
    assert isinstance(module, RefinedStage)
    net, scale, draft = module.net, module.scale, _draft(run)
    size = _size(run)
    low = (size[0] // SCALES[scale], size[1] // SCALES[scale])
    features = _decoded(draft, net.feature_extraction.upblocks[scale - 1], run, low)
    disparity = _shrunk(draft, 0, 1, size, SCALES[scale], gain=1 / SCALES[scale])
    reach = net.options.maxdisplist[scale]
    _head(draft, net, scale, features, disparity, (reach - 1, -1, 2 * reach - 1))
    if len(run.outputs) > 1:
        draft.steps.append(Export(features, 1))
    return _program(draft, run)


@programs_of(PropagationStage)
def propagated(run: StageRun) -> Program:
    """Stage 4: the gates seen in the left picture, and the disparity spread along them."""
    module = run.stage.module
    assert isinstance(module, PropagationStage) and module.net.refine_spn is not None
    guidance, lift, drop = module.net.refine_spn
    size, draft = _size(run), _draft(run)
    guide = _transposed(draft, _shrunk(draft, 0, 3, size, SPN_SCALE))
    layers = [layer for layer in guidance.children() if not isinstance(layer, nn.ReLU)]
    for number, layer in enumerate(layers, 1):
        guide = _convolved(draft, guide, _turned(layer), 0.0 if number < len(layers) else -math.inf)
    lifted = _convolved(draft, _transposed(draft, _shrunk(draft, 1, 1, size, SPN_SCALE)), _turned(lift))
    planes = draft.planes(len(lifted.planes), lifted.grid)
    draft.steps.append(Propagate(lifted, guide.planes, planes))
    dropped = _convolved(draft, Maps.made(lifted.grid, planes), _turned(drop))
    _enlarged(draft, _transposed(draft, dropped), size)
    return _program(draft, run)


# --- What all stages are made of --------------------------------------------------------------------------------------


def _draft(run: StageRun) -> Draft:
    height, width = _size(run)
    if height % SCALES[0] or width % SCALES[0]:
        raise Unsupported(f"{height}x{width} px are not multiples of {SCALES[0]}")
    sizes = {(height // factor, width // factor) for factor in (2, *SCALES)}
    turned = {(width // SPN_SCALE, height // SPN_SCALE)}
    return Draft((), dict.fromkeys(sizes | turned, 1))


def _size(run: StageRun) -> Size:
    """Of the full-resolution tensor that every stage takes first."""
    height, width = next(iter(run.inputs.values())).shape[2:]
    return int(height), int(width)


def _program(draft: Draft, run: StageRun) -> Program:
    return written(
        with_fewer_products(draft.steps, draft.grids), draft.grids, list(run.inputs), list(run.outputs)
    )


def _array(tensor: Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())


def _bias(kernel: Kernel) -> Floats:
    return np.zeros(len(kernel.weight), np.float32) if kernel.bias is None else _array(kernel.bias)


def _turned(conv: nn.Module) -> Kernel:
    """The kernel that does to the transposed map what ``conv`` does to the map."""
    kernel = kernel_of(conv)
    return Kernel(kernel.weight.transpose(2, 3), kernel.bias)


def _convolved(draft: Draft, maps: Maps, kernel: Kernel, low: float = -math.inf) -> Maps:
    """A 3x3 ``kernel``, padded with one zero, on as many groups of maps as have its inputs; at least ``low``."""
    weight, bias, grid = _array(kernel.weight), _bias(kernel), maps.grid
    outputs, channels = weight.shape[:2]
    groups = maps.planes.reshape(-1, channels)
    window = _window(grid)
    planes = draft.planes(len(groups) * outputs, grid)
    units = [
        Unit(
            out, group.repeat(len(window)), np.tile(window, channels), weight.reshape(outputs, -1), bias, None
        )
        for group, out in zip(groups, planes.reshape(-1, outputs), strict=True)
    ]
    draft.steps.append(Convolution(grid, units, low))
    return Maps.made(grid, planes)


def _window(grid: Grid) -> Places:
    """How far from a pixel the nine of a window of three by three are, row by row."""
    return np.add.outer(np.arange(-1, 2) * grid.pitch, np.arange(-1, 2)).ravel()


def _chained(draft: Draft, maps: Maps, chain: Chain) -> Maps:
    """Norms, ReLUs and convolutions of maps that are normed and limited already."""
    for number, kernel in enumerate(chain.kernels, 1):
        maps = _convolved(draft, maps, kernel, 0.0 if number < len(chain.kernels) else -math.inf)
    return maps


def _opening(chain: Chain) -> Before:
    """What a chain does first."""
    scale, shift = _array(chain.scale), _array(chain.shift)
    return Before(scale, shift, np.zeros(len(scale), np.float32))


def _twice(before: Before) -> Before:
    """The same for both views."""
    return before.take(np.tile(np.arange(len(before.scale)), VIEWS))


# --- The encoder and the decoder --------------------------------------------------------------------------------------


def _stem(draft: Draft, block: nn.Sequential, size: Size) -> Maps:
    """Both pictures to their maps at 1/4; no map of full size is written."""
    stem, down = block.children()
    first, strided = stem.children()
    norm, _, second = strided.children()
    inner, outer = kernel_of(first).normed(norm), kernel_of(second)
    grid = draft.grid(size[0] // 2, size[1] // 2)
    planes = draft.planes(VIEWS * len(outer.weight), grid)
    draft.steps += [
        Stem(view, size, _array(inner.weight), _bias(inner), _array(outer.weight), _bias(outer), grid, each)
        for view, each in enumerate(planes.reshape(VIEWS, -1))
    ]
    return _down(draft, Maps.made(grid, planes), down)  # type: ignore[arg-type]


def _down(draft: Draft, maps: Maps, block: nn.Sequential) -> Maps:
    """Maximum of two by two, then the convolutions."""
    chain = fold_chain(list(block.children())[1:])
    grid = draft.grid(maps.grid.height // 2, maps.grid.width // 2)
    planes = draft.planes(len(maps.planes), grid)
    draft.steps.append(Pool(maps, grid, planes, True, False, 2, 2, 0))
    return _chained(draft, draft.ready(Maps(grid, planes, _twice(_opening(chain)))), chain)


def _decoded(draft: Draft, block: nn.Module, run: StageRun, low: Size) -> Maps:
    """The coarser features, enlarged, and the skip maps: the block's first norm and ReLU while they are brought in."""
    chain = fold_chain(block.conv.children())  # type: ignore[union-attr]
    coarser, skip = list(run.inputs.values())[1:]
    fine, all_ = skip.shape[1], len(chain.scale)
    opening, grid = _opening(chain), draft.grid(*low)
    kept = draft.planes(VIEWS * fine, grid)
    enlarged = draft.planes(VIEWS * (all_ - fine), grid)
    draft.steps += [
        Resize(2, (VIEWS * fine, *low), Axis.same(low[0]), Axis.same(low[1]), (grid, kept),
               _twice(opening.take(np.arange(fine)))),
        Resize(1, (VIEWS * coarser.shape[1], *_sides(coarser)), Axis.of(low[0], coarser.shape[2], align_corners=True),
               Axis.of(low[1], coarser.shape[3], align_corners=True), (grid, enlarged),
               _twice(opening.take(np.arange(fine, all_)))),
    ]  # fmt: skip
    joined = np.concatenate([kept.reshape(VIEWS, -1), enlarged.reshape(VIEWS, -1)], axis=1).ravel()
    return _chained(draft, Maps.made(grid, joined), chain)


def _sides(tensor: Tensor) -> Size:
    return int(tensor.shape[2]), int(tensor.shape[3])


# --- Costs and disparities --------------------------------------------------------------------------------------------


def _head(
    draft: Draft, net: AnyNet, scale: int, features: Maps, disparity: Maps | None, slices: tuple[int, int, int]
) -> None:  # fmt: skip
    """The disparity of a scale, as output 0: ``slices`` are the first one, the step and the number of a volume's.

    The expected residual is added to input 0, where there is a ``disparity`` so far.
    """
    first, step, count = slices
    chain = fold_chain(net.volume_postprocess[scale].children())
    grid = features.grid
    left, right = features.planes.reshape(VIEWS, -1)
    planes = draft.planes(count, grid)
    sums = (float(chain.scale), float(chain.shift))
    known = None if disparity is None else int(disparity.planes[0])
    draft.steps.append(Volume(grid, left, right, known, first, step, planes, sums, 0.0))
    scores = _regularised(draft, Maps.made(grid, planes), chain)
    # Slice s stands for what must be added to the disparity so far: its distance from where it compares, the other way round.
    values = (first + np.arange(count) if known is None else np.arange(count) - first) * float(SCALES[scale])
    (expected,) = out = draft.planes(1, grid)
    draft.steps.append(Expectation(scores, values.astype(np.float32), int(expected)))
    factor = SCALES[scale]
    size = (grid.height * factor, grid.width * factor)
    _enlarged(draft, Maps.made(grid, out), size, -1 if known is None else 0)


def _regularised(draft: Draft, volume: Maps, chain: Chain) -> Maps:
    """A volume (slices) through the 3-D convolutions, to what its softmax is taken of."""
    slices = volume.planes.reshape(1, -1)  # channels, slices
    for number, kernel in enumerate(chain.kernels, 1):
        last = number == len(chain.kernels)
        kernel = Kernel(-kernel.weight, kernel.bias) if last else kernel
        slices = _convolved_3d(draft, slices, volume.grid, kernel, -math.inf if last else 0.0)
    return Maps.made(volume.grid, slices[0])


def _convolved_3d(draft: Draft, volume: Places, grid: Grid, kernel: Kernel, low: float) -> Places:
    """A 3x3x3 ``kernel`` on planes (channels, slices), padded with one zero; likewise the result."""
    weight, bias = _array(kernel.weight), _bias(kernel)
    outputs, count = len(weight), volume.shape[1]
    planes = draft.planes(outputs * count, grid).reshape(outputs, count)
    window = _window(grid)
    together = LEAST_OUTPUTS if outputs == 1 else 1
    units = []
    for first in range(0, count, together):
        made = range(first, min(first + together, count))
        read = range(max(first - 1, 0), min(made.stop + 1, count))
        each = [
            weight[:, :, source - slice_ + 1] if abs(source - slice_) <= 1 else np.zeros_like(weight[:, :, 0])
            for slice_ in made
            for source in read
        ]
        # (slices made, slices read, outputs, channels, 3, 3) to a row an output of a slice, in the order of the planes
        matrix = np.stack(each).reshape(len(made), len(read), *weight.shape[:2], -1).transpose(0, 2, 3, 1, 4)
        sources = volume[:, read.start : read.stop].ravel()
        units.append(
            Unit(planes[:, first : made.stop].T.ravel(), np.repeat(sources, len(window)), np.tile(window, len(sources)),
                 np.ascontiguousarray(matrix.reshape(len(made) * outputs, -1)), np.tile(bias, len(made)), None)
        )  # fmt: skip
    draft.steps.append(Convolution(grid, units, low))
    return planes


# --- Resizing ---------------------------------------------------------------------------------------------------------


def _shrunk(draft: Draft, number: int, channels: int, size: Size, factor: int, gain: float = 1.0) -> Maps:
    """An input, smaller by a whole factor, times ``gain``."""
    grid = draft.grid(size[0] // factor, size[1] // factor)
    planes = draft.planes(channels, grid)
    before = Before(
        np.full(channels, gain, np.float32),
        np.zeros(channels, np.float32),
        np.full(channels, -np.inf, np.float32),
    )
    draft.steps.append(
        Resize(number, (channels, *size), Axis.of(grid.height, size[0], align_corners=False),
               Axis.of(grid.width, size[1], align_corners=False), (grid, planes), before)
    )  # fmt: skip
    return Maps.made(grid, planes)


def _enlarged(draft: Draft, maps: Maps, size: Size, addend: int = -1) -> None:
    """Maps of one channel as output 0, at full resolution."""
    grid = maps.grid
    rows, columns = (
        Axis.of(after, before, align_corners=False)
        for after, before in zip(size, (grid.height, grid.width), strict=True)
    )
    draft.steps.append(
        Resize(maps, (len(maps.planes), grid.height, grid.width), rows, columns, 0, addend=addend)
    )


def _transposed(draft: Draft, maps: Maps) -> Maps:
    grid = draft.grid(maps.grid.width, maps.grid.height)
    planes = draft.planes(len(maps.planes), grid)
    draft.steps.append(Transpose(maps, grid, planes))
    return Maps.made(grid, planes)
