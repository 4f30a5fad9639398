"""The picture of error against time: every exit and every peer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Point:
    """One answer: how long it took in ms, and the % of pixels that it got wrong."""

    name: str
    milliseconds: float
    d1: float


def error_against_time(
    exits: dict[str, Sequence[Point]], peers: Sequence[Point], title: str, out: Path
) -> None:
    """Draw exits as one line per set of weights and peers as single marks, time on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4.5), dpi=100)
    for weights, points in exits.items():
        times, errors = [p.milliseconds for p in points], [p.d1 for p in points]
        axes.plot(times, errors, marker="o", label=f"edgekit, {weights}")
        for point in points:
            axes.annotate(
                point.name, (point.milliseconds, point.d1), (5, 6), textcoords="offset points", fontsize=8
            )
    for point, mark in zip(peers, "sD^vPX*", strict=False):
        axes.plot([point.milliseconds], [point.d1], marker=mark, linestyle="", markersize=8, label=point.name)
    logarithmic(axes)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel("time for one pair, ms (networks: tensor to tensor; StereoSGBM: picture to disparity)")
    axes.set_ylabel("D1: wrong pixels, %\n(no answer counts as wrong)")
    axes.set_title(textwrap.fill(title, 100), fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)


def logarithmic(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with plain numbers under a few ticks in place of powers under all of them."""
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    ticks = [tick for tick in ticks if least <= tick <= most]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
