"""What `edgekit run --source` says: a line while it runs, and a summary at its end."""

import sys
from typing import Dict, List, Mapping, Optional

from edgekit.runtime.report import milliseconds, table
from edgekit.runtime.stream import Counts, Spread, Stream

# A terminal's line is renewed so often, elsewhere a line is added; ms.
TERMINAL, ELSEWHERE = 200.0, 10000.0


class LiveLine:
    """Tells on stderr how a stream is doing: one line that rewrites itself on a terminal, a line every 10 s elsewhere."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._terminal = sys.stderr.isatty()
        self._every = TERMINAL if self._terminal else ELSEWHERE
        self._told = stream.clock.now()
        self._answered = 0

    def at(self, now: float) -> None:
        """Say it, if it is time to."""
        if now - self._told < self._every:
            return
        counts = self._stream.counts()
        rate = (counts.answered - self._answered) * 1e3 / (now - self._told)
        self._told, self._answered = now, counts.answered
        line = live_line(counts, rate)
        print(
            f"\r\x1b[K{line}" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def warn(self, text: str) -> None:
        """Say what went wrong, on a line of its own."""
        start = "\r\x1b[K" if self._terminal else ""
        print(f"{start}edgekit: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear a terminal's line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def live_line(counts: Counts, rate: float) -> str:
    """How a stream is doing, in one line."""
    ages = counts.best_ages
    exits = " ".join(f"{stage}:{number}" for stage, number in sorted(counts.exits.items()))
    return (
        f"{counts.seconds:.0f} s  {counts.captured} frames  {rate:.1f} answers/s  age p50 {milliseconds(ages.p50)} p99"
        f" {milliseconds(ages.p99)} ms  dropped {counts.dropped}  missed {counts.missed}  {exits}"
    )


def lines(counts: Counts, budget_ms: Optional[float], written: Mapping[str, str], ended: str) -> List[str]:
    """The summary for people."""
    rate = counts.captured / counts.seconds if counts.seconds else 0.0
    said = [
        f"{counts.captured} {'frame' if counts.captured == 1 else 'frames'} in {counts.seconds:.1f} s, {rate:.1f} a second; {ended}"
    ]
    what = [f"answered {counts.answered}", f"dropped {counts.dropped} (a newer one came first)"]
    if budget_ms is not None:
        what.append(f"missed {counts.missed} (first answer later than {budget_ms:g} ms after arrival)")
    for number, name in (
        (counts.failed, "failed"),
        (counts.thinned, "passed over for the lower rate"),
        (counts.disordered, "out of order"),
        (counts.absent, "absent when the rate wanted one"),
        (counts.vanished, "times the source vanished"),
    ):
        if number:
            what.append(f"{number} {name}")
    said += [", ".join(what), ""]
    rows = [
        [name, *(milliseconds(value) for value in (ages.p50, ages.p99, ages.max))]
        for name, ages in (
            ("first answer, handed on", counts.first_ages),
            ("best answer, handed on", counts.best_ages),
            ("newest answer, when renewed", counts.renewed_ages),
        )
    ]
    said += table(["age of the frame, ms", "p50", "p99", "max"], rows)
    total = max(sum(counts.exits.values()), 1)
    said += ["", *table(["best exit", "frames", "share"], [
        [stage, number, f"{100 * number / total:.1f} %"] for stage, number in sorted(counts.exits.items())
    ])]  # fmt: skip
    skipped = {name: number for name, number in counts.skipped.items() if number}
    if skipped:
        said += [
            "",
            "answers skipped by those who were not ready: "
            + ", ".join(f"{k} {n}" for k, n in skipped.items()),
        ]
    if written:
        said += [""] + [f"wrote {path} ({what})" for path, what in written.items()]
    return said


def document(counts: Counts) -> Dict[str, object]:
    """The summary for programs."""
    ages: Dict[str, Spread] = {
        "first": counts.first_ages,
        "best": counts.best_ages,
        "renewed": counts.renewed_ages,
    }
    whole = dict(counts._asdict())
    for name in ("first_ages", "best_ages", "renewed_ages"):
        del whole[name]
    behind = {str(key): value for key, value in sorted(counts.behind.items())}
    return dict(whole, behind=behind, ages_ms={name: dict(spread._asdict()) for name, spread in ages.items()})
