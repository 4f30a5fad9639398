"""Resizing pictures and maps, with torch's own conventions about where a pixel lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F

from edgekit.export.emitters import emits
from edgekit.export.graph import GraphBuilder, rank_of, shape_of

Scales = Sequence[float] | None
Side = TypeVar("Side", int, float)


@emits("aten.upsample_linear1d.vec", "aten.upsample_bilinear2d.vec", "aten.upsample_trilinear3d.vec")
def linear(
    graph: GraphBuilder, x: ir.Value, output_size: object, align_corners: bool, scale_factors: Scales = None
) -> ir.Value:
    """Linear interpolation; corners aligned, or pixel centres at half integers."""
    if align_corners:
        return _resize(graph, x, None, mode="linear", coordinate_transformation_mode="align_corners")
    return _resize(graph, x, scale_factors, mode="linear", coordinate_transformation_mode="half_pixel")


@emits(
    "aten.upsample_bilinear2d.default", "aten.upsample_linear1d.default", "aten.upsample_trilinear3d.default"
)
def linear_scales(
    graph: GraphBuilder, x: ir.Value, output_size: object, align_corners: bool, *scales: float | None
) -> ir.Value:
    """Core ATen's spelling: one scale a side."""
    return linear(graph, x, output_size, align_corners, _known(scales))


@emits("aten.upsample_bicubic2d.vec")
def cubic(
    graph: GraphBuilder, x: ir.Value, output_size: object, align_corners: bool, scale_factors: Scales = None
) -> ir.Value:
    """Cubic interpolation with torch's coefficient."""
    mode = "align_corners" if align_corners else "half_pixel"
    scales = None if align_corners else scale_factors
    return _resize(graph, x, scales, mode="cubic", coordinate_transformation_mode=mode, cubic_coeff_a=-0.75)


@emits("aten.upsample_nearest1d.vec", "aten.upsample_nearest2d.vec", "aten.upsample_nearest3d.vec")
def nearest(graph: GraphBuilder, x: ir.Value, output_size: object, scale_factors: Scales = None) -> ir.Value:
    """The pixel at floor(position / scale)."""
    if not _enlarges_evenly(graph, x, scale_factors):
        return _picked(graph, x, scale_factors, "nearest")
    return _resize(
        graph, x, None, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


@emits(
    "aten.upsample_nearest2d.default", "aten.upsample_nearest1d.default", "aten.upsample_nearest3d.default"
)
def nearest_scales(graph: GraphBuilder, x: ir.Value, output_size: object, *scales: float | None) -> ir.Value:
    """Core ATen's spelling: one scale a side."""
    return nearest(graph, x, output_size, _known(scales))


@emits(
    "aten._upsample_nearest_exact1d.vec",
    "aten._upsample_nearest_exact2d.vec",
    "aten._upsample_nearest_exact3d.vec",
)
def nearest_exact(
    graph: GraphBuilder, x: ir.Value, output_size: object, scale_factors: Scales = None
) -> ir.Value:
    """The pixel whose centre is nearest: when enlarging by a whole number, the same as `nearest`."""
    if not _enlarges_evenly(graph, x, scale_factors):
        return _picked(graph, x, scale_factors, "nearest-exact")
    return nearest(graph, x, output_size, scale_factors)


def _enlarges_evenly(graph: GraphBuilder, x: ir.Value, scale_factors: Scales) -> bool:
    """Whether every side grows by a whole number: only then does no rounding decide which pixel is taken."""
    sides = list(zip(shape_of(x)[2:], graph.result.shape[2:], strict=True))
    factors = scale_factors or [after / before for before, after in sides]
    return all(
        after % before == 0 and factors[k % len(factors)] == after // before
        for k, (before, after) in enumerate(sides)
    )


def _only(k: int, value: Side, count: int) -> list[Side]:
    """``value`` at place k of ``count``, 1 elsewhere."""
    return [value if place == k else type(value)(1) for place in range(count)]


def _picked(graph: GraphBuilder, x: ir.Value, scale_factors: Scales, mode: str) -> ir.Value:
    """Rows and columns gathered by the very numbers that torch takes; runtimes round positions differently."""
    sides = list(zip(shape_of(x)[2:], graph.result.shape[2:], strict=True))
    for k, (before, after) in enumerate(sides):
        # As many dimensions as x has, since torch's kernels of other ranks round differently too.
        places = torch.arange(before, dtype=torch.float32).view(1, 1, *_only(k, before, len(sides)))
        if scale_factors is None:
            taken = F.interpolate(places, size=_only(k, after, len(sides)), mode=mode)
        else:
            factor = scale_factors[k % len(scale_factors)]
            taken = F.interpolate(places, scale_factor=_only(k, factor, len(sides)), mode=mode)
        if not torch.equal(taken, places):
            shape = [*shape_of(x)]
            shape[k + 2] = after
            rows = graph.constant(taken.view(-1).to(torch.int32).numpy())
            x = graph.typed(graph.op("Gather", x, rows, axis=k + 2), shape, x.dtype)
    return x


@emits("aten.pixel_shuffle.default")
def pixel_shuffle(graph: GraphBuilder, x: ir.Value, upscale_factor: int) -> ir.Value:
    """Channels (C r r) to pixels: (C, r H, r W)."""
    lifted = graph.reshape(x, (1, *shape_of(x))) if rank_of(x) == 3 else x
    y = graph.op("DepthToSpace", lifted, blocksize=upscale_factor, mode="CRD")
    return y if lifted is x else graph.op("Reshape", y, graph.ints(graph.result.shape))


def _known(scales: Sequence[float | None]) -> Scales:
    return None if not scales or None in scales else [scale for scale in scales if scale is not None]


def _resize(graph: GraphBuilder, x: ir.Value, scale_factors: Scales, **attributes: str | float) -> ir.Value:
    """Resize to the sizes that torch worked out; by scales only where these say more than the sizes do.

    Torch places pixels by the scale it was given, even where the picture's side times that scale is no whole number.
    """
    before, after = shape_of(x), graph.result.shape
    if before == after:
        return x
    spatial = len(before) - 2
    none = graph.constant([], ir.DataType.FLOAT)
    if scale_factors is not None:
        factors = list(scale_factors) if len(scale_factors) == spatial else [scale_factors[0]] * spatial
        if any(b * f != a for b, f, a in zip(before[2:], factors, after[2:], strict=True)):
            scales = [_at_least(b, f, a) for b, f, a in zip(before[2:], factors, after[2:], strict=True)]
            return graph.op(
                "Resize", x, none, graph.constant([1.0, 1.0, *scales], ir.DataType.FLOAT), **attributes
            )
    return graph.op("Resize", x, none, none, graph.ints(after), **attributes)


def _at_least(before: int, factor: float, after: int) -> float:
    """The factor in float32, not so far rounded down that ``floor(before * factor)`` misses ``after``."""
    scale = np.float32(factor)
    while int(before * float(scale)) < after:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)
