"""A training's log as a picture, where matplotlib is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


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
    _draw(accuracies, [entry for entry in entries if "validation_percent" in entry], "validation_percent", "-")
    losses.set(xlabel="step", ylabel="loss")
    accuracies.set(xlabel="step", ylabel="right, % (lines: held out, dots: training)")
    path = log.with_suffix(".png")
    figure.savefig(path, dpi=120)
    return path


def _draw(axes: object, entries: Sequence[Mapping[str, object]], key: str, style: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.set_prop_cycle(None)
    steps = [entry["step"] for entry in entries]
    axes.plot(steps, [entry[key] for entry in entries], style)
