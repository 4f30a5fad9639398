"""What `edgekit calibrate --plot` draws: accuracy against cost, exits by themselves and early exits between them."""

import importlib

from edgekit.runtime.calibration.calibrating import Calibration


def draw(path: str, found: Calibration, title: str) -> None:
    """Draw the frontier to ``path``; `edgekit.runtime.verbs.simulate_plot.check_plot` has said that it can be."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=110)
    early = found.frontier
    (line,) = axes.plot(
        [one.cost for one in early], [100 * one.accuracy for one in early], marker=".", label="early exits"
    )
    axes.fill_between(
        [one.cost for one in early],
        [100 * one.interval[0] for one in early],
        [100 * one.interval[1] for one in early],
        color=line.get_color(),
        alpha=0.15,
        linewidth=0,
    )
    fixed = found.exits
    accuracies = [100 * one.accuracy for one in fixed]
    spread = [
        [100 * (one.accuracy - one.interval[0]) for one in fixed],
        [100 * (one.interval[1] - one.accuracy) for one in fixed],
    ]
    axes.errorbar(
        [one.cost for one in fixed], accuracies, yerr=spread, fmt="s", capsize=3, label="an exit by itself"
    )
    for name, one in zip(found.costs.exits, fixed):
        axes.annotate(
            name, (one.cost, 100 * one.accuracy), textcoords="offset points", xytext=(5, -12), fontsize=8
        )
    if found.seen is not None:
        chosen = found.unseen or found.seen
        axes.plot(
            [chosen.cost], [100 * chosen.accuracy], "*", markersize=14, label="the thresholds that were set"
        )
    axes.set_xlabel(f"mean cost of an answer, {found.costs.unit}")
    axes.set_ylabel("accuracy, % (95 % interval)")
    axes.set_title(f"{title}, {found.samples} samples of {found.source}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
