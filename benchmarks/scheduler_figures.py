"""The bars that the scheduler has to clear, and what a run of the benchmark says about each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edgekit.runtime.simulation.strategies import EDGEKIT, MEAN

if TYPE_CHECKING:
    from benchmarks.scheduler import Relived
    from benchmarks.scheduler_ceiling import Ceiling
    from benchmarks.scheduler_live import Floor, LiveCell, Soak
    from benchmarks.scheduler_recovery import LiveRecovery
    from benchmarks.scheduler_simulated import Recovery, SimulatedCell

REACHED, NOT_REACHED, NOT_MEASURED, COMPARED = "reached", "NOT REACHED", "not measured", "its ceiling"
SWITCHING = "switching"
ACCURACY = "accuracy (1 - D1)"
# Share of the oracle's, by a part of the condition's name.
UTILITY = {"quiet": 0.97, "neighbour switching": 0.92}
# Where one answer in a hundred may be late, 0.99 for every stage is surer than need be: its user would say so.
BOLDLY = 0.98
BOLDER = f"{EDGEKIT}, confidence={BOLDLY}"
LATE = {"quiet": 0.001, SWITCHING: 0.01}
SWITCHED = {"after_step": "after a 2x slowdown", "after_end": "after its end"}
LIVE = (("return", "realtime"), ("return", "normal"), ("finish", "normal"))  # overrun and priority


@dataclass(frozen=True)
class Row:
    """One bar: what, what it must reach, what was measured, and the verdict."""

    what: str
    bar: str
    measured: str
    verdict: str


def rows(
    simulated: Sequence[SimulatedCell],
    recoveries: Sequence[Recovery],
    live: Sequence[LiveCell],
    settled: Sequence[LiveRecovery],
    decisions: Sequence[Mapping[str, object]],
    soaked: Soak | None,
    relived: Sequence[Relived],
    ceilings: Sequence[Ceiling],
) -> list[Row]:
    """Every bar; those that this run says nothing about are marked as not measured."""
    return [
        *_live_rows(live),
        *_utility(simulated, live, ceilings),
        *_recovery(recoveries),
        *_recovery_live(settled),
        *_decisions(decisions),
        _soak(soaked),
        _mean(simulated),
        _mean_live(relived),
    ]


def _row(what: str, bar: str, measured: str, reached: bool) -> Row:
    return Row(what, bar, measured, REACHED if reached else NOT_REACHED)


def _missing(what: str, bar: str) -> Row:
    return Row(what, bar, "-", NOT_MEASURED)


def _live_rows(live: Sequence[LiveCell]) -> Iterator[Row]:
    for overrun, priority in LIVE:
        for part, bar in LATE.items():
            what = f"late answers, live, {part}, overrun={overrun}, priority={priority}"
            cells = _cells(live, part, overrun, priority)
            late, count = sum(cell.late for cell in cells), sum(cell.answerable for cell in cells)
            if not count:
                yield _missing(what, f"<= {100 * bar:g} %")
                continue
            share = late / count
            worst = max(cells, key=lambda cell: cell.late_share)
            measured = f"{100 * share:.3f} % (worst {100 * worst.late_share:.2f} at {worst.budget_ms:g} ms)"
            if any(cell.noted for cell in cells):
                measured += f"; the machine was away in {sum(cell.late_away for cell in cells)} of {late}"
            yield _row(what, f"<= {100 * bar:g} %", measured, share <= bar)
    for priority in ("realtime", "normal"):
        what = f"worst overshoot, live, switching, overrun=return, priority={priority}"
        cells = _cells(live, SWITCHING, "return", priority)
        if not cells:
            yield _missing(what, "<= 5 ms")
            continue
        worst_ms = max(cell.overshoot_max_ms for cell in cells)
        measured = f"{worst_ms:.2f} ms"
        if any(cell.noted for cell in cells):
            here_ms = max(cell.overshoot_here_ms for cell in cells)
            measured += f"; {here_ms:.2f} where the machine was not away"
        yield _row(what, "<= 5 ms", measured, worst_ms <= 5)


def _cells(live: Sequence[LiveCell], part: str, overrun: str, priority: str) -> list[LiveCell]:
    return [
        cell
        for cell in live
        if part in cell.condition and (cell.overrun, cell.priority) == (overrun, priority)
    ]


def _utility(
    simulated: Sequence[SimulatedCell], live: Sequence[LiveCell], ceilings: Sequence[Ceiling]
) -> Iterator[Row]:
    for part, bar in UTILITY.items():
        for overrun in ("return", "finish"):
            what = f"exits reached against the oracle, simulated, {part}, overrun={overrun}"
            shares = [
                cell.figures.of_oracle
                for cell in simulated
                if part in cell.condition and cell.strategy == EDGEKIT and cell.overrun == overrun
            ]
            yield _share(what, bar, shares)
            told = [
                cell.figures.accuracy_of_oracle
                for cell in simulated
                if part in cell.condition and cell.strategy == EDGEKIT and cell.overrun == overrun
            ]
            yield _share(
                what.replace("exits reached", ACCURACY), bar, [one for one in told if one is not None]
            )
        yield from _boldly(simulated, part, bar)
        yield from (_ceiling(one) for one in ceilings if part in one.condition)
        for overrun, priority in LIVE:
            what = f"exits reached against the oracle, live (estimated), {part}, overrun={overrun}, priority={priority}"
            cells = _cells(live, part, overrun, priority)
            yield _share(what, bar, [cell.of_oracle for cell in cells])
            known = [cell.accuracy_of_oracle for cell in cells]
            yield _share(
                what.replace("exits reached", ACCURACY), bar, [one for one in known if one is not None]
            )


def _boldly(simulated: Sequence[SimulatedCell], part: str, bar: float) -> Iterator[Row]:
    figures = [cell.figures for cell in simulated if part in cell.condition and cell.strategy == BOLDER]
    if figures:
        late = sum(one.late for one in figures) / max(sum(one.answerable for one in figures), 1)
        share = sum(one.of_oracle for one in figures) / len(figures)
        worst = min(one.of_oracle for one in figures)
        yield _row(
            f"exits reached against the oracle, simulated, {part}, overrun=finish, confidence={BOLDLY:g}",
            f">= {100 * bar:g} %, <= {100 * LATE[SWITCHING]:g} % late",
            f"{100 * share:.1f} % (worst budget {100 * worst:.1f}) with {100 * late:.2f} % late",
            share >= bar and late <= LATE[SWITCHING],
        )


def _ceiling(one: Ceiling) -> Row:
    bought = "never" if one.late_at_bar is None else f"with {100 * one.late_at_bar:.2f} % late"
    return Row(
        f"exits reached against the oracle by a regression fitted to these very frames, simulated, {one.condition}, overrun=finish",
        "<= 0.1 % late",
        f"{100 * one.of_oracle:.1f} % with {100 * one.late_share:.2f} % late; {100 * one.bar:g} % {bought}",
        COMPARED,
    )


def _share(what: str, bar: float, shares: Sequence[float]) -> Row:
    if not shares:
        return _missing(what, f">= {100 * bar:g} %")
    mean = sum(shares) / len(shares)
    measured = f"{100 * mean:.1f} % (worst budget {100 * min(shares):.1f})"
    return _row(what, f">= {100 * bar:g} %", measured, mean >= bar)


def _recovery(recoveries: Sequence[Recovery]) -> Iterator[Row]:
    for part, after in SWITCHED.items():
        what = f"recovery, {after}, simulated, worst budget"
        taken = [getattr(one, part) for one in recoveries]
        if not taken:
            yield _missing(what, "<= 5 frames")
            continue
        never = sum(one is None for one in taken)
        worst = max((one for one in taken if one is not None), default=0)
        measured = f"{worst} frames" + (f", {never} of {len(taken)} never settle" if never else "")
        yield _row(what, "<= 5 frames", measured, worst <= 5 and not never)


def _recovery_live(settled: Sequence[LiveRecovery]) -> Iterator[Row]:
    for overrun in ("return", "finish"):
        found = [one for one in settled if one.overrun == overrun]
        for part, after in SWITCHED.items():
            what = f"recovery, {after}, live, overrun={overrun}, 90th percentile of the tries"
            tries = [frames for one in found for frames in getattr(one, part)]
            if not tries:
                yield _missing(what, "<= 5 frames")
                continue
            worst_budget = max(most_of(getattr(one, part)) for one in found)
            measured = f"{most_of(tries)} frames ({worst_budget} at the worst budget; median {sorted(tries)[len(tries) // 2]}, worst {max(tries)} of {len(tries)})"
            yield _row(what, "<= 5 frames", measured, most_of(tries) <= 5)


def most_of(tries: Sequence[int]) -> int:
    """What nine of ten stay at or below."""
    return sorted(tries)[max(0, -(-9 * len(tries) // 10) - 1)]


def _decisions(decisions: Sequence[Mapping[str, object]]) -> Iterator[Row]:
    for one in decisions:
        median, p99 = (cast("float", one[f"decision_{name}_us"]) for name in ("median", "p99"))
        what = f"one decision, Python {one['python']}"
        bar = "median 20, p99 100 us"
        yield _row(what, bar, f"median {median:.1f}, p99 {p99:.1f} us", median <= 20 and p99 <= 100)
        growth = cast("float", one["memory_growth_share"])
        what = f"memory after {one['growth_frames']} frames of decisions, Python {one['python']}"
        yield _row(what, "< 1 %", f"{100 * growth:+.2f} %", growth < 0.01)


def _soak(soaked: Soak | None) -> Row:
    bar = "< 1 %, nothing left"
    if soaked is None:
        return _missing("memory, threads and handles after 100,000 frames, live", bar)
    measured = f"{100 * soaked.memory_growth_share:+.2f} %, {soaked.threads_left} threads, {soaked.handles_left} handles"
    fine = soaked.memory_growth_share < 0.01 and soaked.threads_left <= 0 and soaked.handles_left <= 0
    return _row(f"memory, threads and handles after {soaked.frames} frames, live", bar, measured, fine)


def _mean(simulated: Sequence[SimulatedCell]) -> Row:
    what, bar = (
        "late answers of a mean-based predictor, simulated, all conditions, overrun=finish",
        ">= 5x ours",
    )
    if not simulated:
        return _missing(what, bar)
    cells = [cell for cell in simulated if cell.overrun == "finish"]
    ours, theirs = (
        sum(cell.figures.late for cell in cells if cell.strategy == name) for name in (EDGEKIT, MEAN)
    )
    return _row(what, bar, f"{theirs} against {ours}: {theirs / max(ours, 1):.1f}x", theirs >= 5 * ours)


def _mean_live(relived: Sequence[Relived]) -> Row:
    what, bar = (
        "late answers of a mean-based predictor, on the frames of the live runs, overrun=finish",
        ">= 5x ours",
    )
    if not relived:
        return _missing(what, bar)
    ours, theirs = (
        sum(values) for values in zip(*((one.late, one.late_of_mean) for one in relived), strict=True)
    )
    return _row(what, bar, f"{theirs} against {ours}: {theirs / max(ours, 1):.1f}x", theirs >= 5 * ours)


def show(
    simulated: Sequence[SimulatedCell],
    recoveries: Sequence[Recovery],
    live: Sequence[LiveCell],
    settled: Sequence[LiveRecovery],
    floors: Sequence[Floor],
    found: Sequence[Row],
) -> None:
    """Print tables and bars."""
    if simulated:
        print(f"simulated\n{'condition':34}{'overrun':>8}{'ms':>8}  {'strategy':20}{'late %':>8}{'exit':>6}{'of oracle %':>13}"
              f"{'quality':>9}{'in time/s':>11}{'over p99':>10}{'max':>8}")  # fmt: skip
    for cell in simulated:
        one = cell.figures
        print(f"{cell.condition:34}{cell.overrun:>8}{cell.budget_ms:8.1f}  {cell.strategy:20}{100 * one.late_share:8.2f}"
              f"{one.mean_exit:6.2f}{100 * one.of_oracle:13.1f}{one.quality:9.3f}{one.goodput:11.1f}"
              f"{one.overshoot_p99_ms:10.2f}{one.overshoot_max_ms:8.1f}")  # fmt: skip
    for back in recoveries:
        print(
            f"2x slower and back, simulated, {back.overrun}, {back.budget_ms:g} ms: settled after {back.after_step} and {back.after_end} frames"
        )
    for one_of_many in settled:
        print(
            f"2x slower and back, live, {one_of_many.overrun}, {one_of_many.budget_ms:g} ms: settled after {one_of_many.after_step} and"
            f" {one_of_many.after_end} frames; where nothing was switched, at once in {one_of_many.steady.count(0)} of {len(one_of_many.steady)}"
        )
    if live:
        print(f"\nmeasured live\n{'condition':48}{'overrun':>8}{'priority':>10}{'ms':>8}{'late %':>8}{'exit':>6}{'of oracle %':>13}"
              f"{'quality':>9}{'in time/s':>11}{'over p99':>10}{'max':>8}  late of each fixed exit, %")  # fmt: skip
    for seen in live:
        rivals = " ".join(f"{100 * share:.0f}" for share in seen.rivals.values())
        print(f"{seen.condition:48}{seen.overrun:>8}{seen.priority:>10}{seen.budget_ms:8.1f}{100 * seen.late_share:8.2f}{seen.mean_exit:6.2f}"
              f"{100 * seen.of_oracle:13.1f}{seen.quality:9.3f}{seen.goodput:11.1f}{seen.overshoot_p99_ms:10.2f}"
              f"{seen.overshoot_max_ms:8.1f}  {rivals}")  # fmt: skip
    for floor in floors:
        print(
            f"a thread that only sleeps, {floor.condition}: woken {floor.median_ms:.2f} ms late in the median, p99 {floor.p99_ms:.2f}, max {floor.max_ms:.2f}"
        )
    print()
    for row in found:
        print(f"{row.verdict:12}{row.measured:>40}  {row.bar:>22}  {row.what}")
