"""The picture of a search: every network by its time and accuracy, and the front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import OptionError
from edgekit.export.search.evolution import Judged


def check_drawing() -> None:
    """Refuse early where pictures cannot be drawn.

    Raises:
        OptionError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"search: its picture needs matplotlib ({error}): pip install matplotlib"
        ) from error


def draw(judged: Sequence[Judged], best: Sequence[Judged], budget_ms: float, label: str, out: Path) -> None:
    """Write the networks and the front as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=100)
    for bits, mark in zip(sorted({one.candidate.bits for one in judged}), "os^", strict=False):
        mine = [one for one in judged if one.candidate.bits == bits]
        axes.plot([one.ms for one in mine], [100 * one.accuracy for one in mine], mark, markersize=4, alpha=0.4,
                  label=f"{bits} bit, {len(mine)} judged")  # fmt: skip
    axes.step(
        [one.ms for one in best], [100 * one.accuracy for one in best], "k.-", where="post", label="front"
    )
    axes.axvline(budget_ms, color="0.5", linestyle="--", linewidth=1, label=f"budget, {budget_ms:g} ms")
    axes.set_xlabel(f"ms a picture, sum of parts ({label.split(':')[0]})")
    axes.set_ylabel("right answers, % (on pictures held out)")
    axes.set_title(label, fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)
