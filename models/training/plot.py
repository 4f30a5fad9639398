"""A training's log as a picture, where matplotlib is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_log(log: Path) -> Path | None:
    """Draw the loss and the accuracy of every exit against the steps, beside the log; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"{log} was not drawn: pip install matplotlib", file=sys.stderr)
        return None
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure((9, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    _draw(losses, [entry for entry in entries if "loss" in entry], "loss", "-")
    _draw(accuracies, [entry for entry in entries if "train_percent" in entry], "train_percent", ":")
    _draw(
        accuracies, [entry for entry in entries if "validation_percent" in entry], "validation_percent", "-"
    )
    losses.set(xlabel="step", ylabel="loss")
    accuracies.set(xlabel="step", ylabel="right, % (lines: held out, dots: training)")
    path = log.with_suffix(".png")
    figure.savefig(path, dpi=120)
    return path


def _draw(axes: Axes, entries: Sequence[dict[str, Any]], key: str, style: str) -> None:
    axes.set_prop_cycle(None)
    axes.plot([entry["step"] for entry in entries], [entry[key] for entry in entries], style)
