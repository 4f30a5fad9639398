"""The answers of several networks to one frame, and why the budget went where it went: for people, and as a timeline."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgekit.runtime.arbiter.round import Made
from edgekit.runtime.result import Result
from edgekit.runtime.scheduler import Decision
from edgekit.runtime.trace import Timeline


class SharedResult(NamedTuple):
    """What the networks reached in one frame.

    Attributes:
        results: of every network, by its name; ``output`` is None where it has no answer.
        utility: the sum of what the exits reached are worth.
        lacking: the networks that have not reached what they must at least.
        elapsed_ms: from the call to the answer.
        slack_ms: what was left of the budget, negative if it was exceeded; None without one.
        missed: whether the answer came after the deadline.
        reason: why no more stages ran: ``final`` (nothing was left to gain), ``budget``, or ``error`` (every network failed).
        choices: every one: see `Made` and `Choice`.
        budget_ms: as given.
        started: the instant of the call, in ms on the sessions' clock.
    """

    results: Mapping[str, Result]
    utility: float
    lacking: Tuple[str, ...]
    elapsed_ms: float
    slack_ms: Optional[float]
    missed: bool
    reason: str
    choices: Tuple[Made, ...]
    budget_ms: Optional[float]
    started: float

    def explain(self) -> List[str]:
        """A line a choice: when, what, for how long, and what else was considered."""
        return [_line(made) for made in self.choices]

    def to_json(self) -> Dict[str, object]:
        """The record of the frame as JSON values, without the answers themselves."""
        return {
            "budget_ms": self.budget_ms,
            "elapsed_ms": self.elapsed_ms,
            "slack_ms": self.slack_ms,
            "missed": self.missed,
            "reason": self.reason,
            "utility": self.utility,
            "lacking": list(self.lacking),
            "stages": {name: result.stage for name, result in self.results.items()},
            "choices": [
                dict(
                    made.choice._asdict(),
                    candidates=[dict(one._asdict()) for one in made.choice.candidates],
                    at_ms=made.at_ms,
                    ran=made.ran,
                    took_ms=made.took_ms,
                )
                for made in self.choices
            ],
        }

    def timeline(self) -> Timeline:
        """For `edgekit.runtime.trace.trace`: stages are called by their network and name, such as ``depth stage1``."""
        stages, cut, decisions = [], None, []
        for made in self.choices:
            choice = made.choice
            label = None if choice.network is None else f"{choice.network} {made.ran}"
            decision = Decision(made.ran is not None, label, choice.predicted_ms, choice.reason)
            decisions.append((made.at_ms, decision))
            if choice.network is None or label is None:
                continue
            ended = self.results[choice.network].cut
            if ended is not None and ended[0] == made.ran:
                cut = label, made.at_ms, made.took_ms
            else:
                stages.append((label, made.at_ms, made.took_ms))
        answer = ", ".join(
            f"{name} {one.stage}" for name, one in self.results.items() if one.stage is not None
        )
        return Timeline(
            self.started,
            0.0,
            self.elapsed_ms,
            self.budget_ms,
            tuple(stages),
            cut,
            tuple(decisions),
            self.reason,
            self.missed,
            answer or None,
        )


def _line(made: Made) -> str:
    choice = made.choice
    left = "" if choice.left_ms is None else f", {choice.left_ms:.1f} ms left"
    at = f"{made.at_ms:7.2f} ms{left}: "
    if choice.network is None:
        why = {
            "final": "the end, nothing is left to gain",
            "budget": "the end, nothing that gains is expected to be in time",
        }.get(choice.reason, choice.reason)
        return at + why + _considered(made)
    expected = "unknown" if choice.predicted_ms is None else f"{choice.predicted_ms:.1f} ms at most"
    why = {
        "minimum": "its minimum",
        "gain": "gains most per ms of what is planned",
        "first": "no answer yet, and nothing else would be less late",
        "chance": "worth more on average than what is sure to be in time",
    }.get(choice.reason, choice.reason)
    what = f"{choice.network} {made.ran} for {choice.exit} (+{choice.gain:.3f}, {expected}): {why}"
    return f"{at}{what}; took {made.took_ms:.1f} ms{_considered(made)}"


def _considered(made: Made) -> str:
    others = [
        "{} {} +{:.3f} in {}{}".format(
            one.network,
            one.exit,
            one.gain,
            "?" if one.predicted_ms is None else f"{one.predicted_ms:.1f}",
            ", planned" if one.planned else "",
        )
        for one in made.choice.candidates
    ]
    return f" [{'; '.join(others)}]" if others else ""
