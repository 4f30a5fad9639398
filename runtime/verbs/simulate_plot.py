"""What `edgekit simulate --plot` draws: late answers and utility over the budgets, one line a strategy."""

import importlib
import os
from typing import Mapping, Sequence, Tuple

from edgekit.errors import OptionError
from edgekit.runtime.simulation.outcomes import Figures
from edgekit.runtime.verbs.options import check_folder

KINDS = (".png", ".svg", ".pdf")


def check_plot(path: str) -> None:
    """That ``path`` can be drawn, before anything slow is done.

    Raises:
        OptionError: of another kind, in no folder, or matplotlib is missing.
    """
    if os.path.splitext(path)[1].lower() not in KINDS:
        raise OptionError(f"--plot {path}: must end in one of {', '.join(KINDS)}")
    check_folder("--plot", path)
    try:
        # Optional, and a name that no device needs: imported only for a picture.
        importlib.import_module("matplotlib").use("Agg")
    except ImportError as error:
        raise OptionError(
            f"--plot {path} needs matplotlib: pip install matplotlib, or draw the document of --json elsewhere"
        ) from error


def draw(path: str, cells: Sequence[Tuple[float, Mapping[str, Figures]]], title: str) -> None:
    """Draw the figures by budget in ms and strategy to ``path``."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 7), dpi=110)
    budgets = [budget for budget, _ in cells]
    for name in cells[0][1]:
        found = [figures[name] for _, figures in cells]
        late = [100 * one.late_share for one in found]
        (line,) = above.plot(budgets, late, marker=".", label=name)
        low, high = zip(*(one.late_interval for one in found))
        above.fill_between(
            budgets,
            [100 * one for one in low],
            [100 * one for one in high],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
        below.plot(budgets, [100 * one.of_oracle for one in found], marker=".", label=name)
    above.set_ylabel("late answers, %\n(band: 95 % interval)")
    above.set_yscale("symlog", linthresh=0.1)
    above.set_ylim(bottom=0)
    above.set_title(title, fontsize=9)
    below.set_ylabel("exits reached in time, % of the oracle's")
    below.set_xlabel("budget, ms")
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    below.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
