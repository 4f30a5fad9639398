"""From what a user wants of early exits (a mean, a p99, a largest loss, shares) to thresholds, or to why that cannot be."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.errors import EdgekitError, InputError, OptionError
from edgekit.runtime.calibration.budgeted_batch import geometric_shares, share_thresholds
from edgekit.runtime.calibration.costs import MILLISECONDS, Costs
from edgekit.runtime.calibration.exit_path import find_path
from edgekit.runtime.calibration.exiting import Evidence, outcome
from edgekit.runtime.intervals import largest_loss, samples_needed

PLACES = 8 * 48  # on the way from nobody to everybody, at which a loss is asked for
# A mean of other samples that differs by less is kept; standard errors within which it is with 95 % confidence.
ALIKE, OFTEN = 0.05, 1.96


class Goal(NamedTuple):
    """What is wanted: exactly one of the first five, or a mean or a loss together with a p99.

    Attributes:
        mean_ms: of all samples, from the call to the answer.
        p99_ms: that 99 of 100 frames take at most.
        max_loss: of accuracy against the last exit, 0 to 1, that ``confidence`` is to be sure of.
        shares: of the samples by exit.
        geometric: shares in proportion to the powers of this number, by the budgeted batch procedure.
    """

    mean_ms: Optional[float] = None
    p99_ms: Optional[float] = None
    max_loss: Optional[float] = None
    shares: Optional[Tuple[float, ...]] = None
    geometric: Optional[float] = None
    confidence: float = 0.95

    def to_json(self) -> Dict[str, object]:
        """What was asked for."""
        asked: Dict[str, object] = {
            name: value
            for name, value in self._asdict().items()
            if value is not None and name != "confidence"
        }
        return dict(asked, confidence=self.confidence) if self.max_loss is not None else asked


class Certificate(NamedTuple):
    """A loss of accuracy that was tested on samples which the thresholds had not seen.

    Attributes:
        samples: that it was tested on.
        loss: seen on them, 0 to 1; negative if accuracy was won.
        at_most: what the true loss is not above, with the confidence asked for.
    """

    samples: int
    loss: float
    at_most: float


class Found(NamedTuple):
    """Thresholds (exits,), infinite where nobody leaves; what there is to say of them; and what was certified of a loss."""

    thresholds: np.ndarray
    notes: Tuple[str, ...] = ()
    certificate: Optional[Certificate] = None


class Unreachable(EdgekitError):
    """The goal cannot be reached with this network, device and data; the message says what is nearest."""


def check_goal(goal: Goal, costs: Costs) -> None:
    """Refuse what is no goal.

    Raises:
        OptionError: none, too many or impossible numbers; or ms where nothing was measured.
    """
    given = [
        name for name in ("mean_ms", "max_loss", "shares", "geometric") if getattr(goal, name) is not None
    ]
    if len(given) > 1 or not (given or goal.p99_ms is not None):
        raise OptionError(
            "give one goal: a mean in ms, a p99 in ms, a largest loss of accuracy, shares, or a geometric distribution; a p99"
            " can be added to a mean or a loss"
        )
    if goal.p99_ms is not None and given and given[0] in ("shares", "geometric"):
        raise OptionError("a p99 cannot be added to shares, which say already who leaves where")
    if costs.unit != MILLISECONDS and (goal.mean_ms is not None or goal.p99_ms is not None):
        raise OptionError(
            "a goal in ms needs the times of this device: run `edgekit bench BUNDLE` first, which keeps them in the bundle, or"
            " give --profile FILE"
        )
    for name in ("mean_ms", "p99_ms", "geometric"):
        value = getattr(goal, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise OptionError(f"{name}={value!r}: must be a positive number")
    if goal.geometric is not None and not _has_shares(goal.geometric, len(costs.exits)):
        raise OptionError(
            f"geometric={goal.geometric!r}: its powers up to {len(costs.exits)} are no shares in float32; give a number such as 0.5"
        )
    if goal.max_loss is not None and not 0 < goal.max_loss < 1:
        raise OptionError(
            f"max_loss={goal.max_loss!r}: must be between 0 and 1, such as 0.005 for half a point"
        )
    if not 0.5 <= goal.confidence < 1:
        raise OptionError(
            f"confidence={goal.confidence!r}: must be at least 0.5 and less than 1, such as 0.95"
        )
    if goal.shares is not None:
        shares = goal.shares
        if len(shares) != len(costs.exits):
            raise OptionError(
                f"{len(shares)} shares for {len(costs.exits)} exits ({', '.join(costs.exits)}): give one for each"
            )
        if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6):  # NaN is neither
            raise OptionError(
                f"shares {', '.join(f'{one:g}' for one in shares)}: must be 0 or more and sum to 1"
            )


def _has_shares(p: float, exits: int) -> bool:
    try:
        with np.errstate(all="ignore"):
            return bool(np.isfinite(geometric_shares(p, exits)).all())
    except (ValueError, OverflowError):  # its logarithm, or one of its powers
        return False


def reach(goal: Goal, evidence: Evidence, costs: Costs) -> Found:
    """Thresholds for ``goal``, found on ``evidence``.

    Raises:
        OptionError: see `check_goal`.
        Unreachable: no thresholds reach it.
        InputError: the samples are too few to tell.
    """
    check_goal(goal, costs)
    if goal.geometric is not None:
        return _found(share_thresholds(evidence.confidence, geometric_shares(goal.geometric, evidence.exits)))
    if goal.shares is not None:
        return _found(share_thresholds(evidence.confidence, goal.shares))
    allowed = evidence.exits
    notes: List[str] = []
    if goal.p99_ms is not None:
        allowed = _exits_within(goal.p99_ms, costs)
        last = costs.exits[allowed - 1]
        notes.append(
            f"every stage is within a p99 of {goal.p99_ms:g} ms"
            if allowed == evidence.exits
            else f"nobody goes beyond {last}, whose p99 is {_p99(costs)[allowed - 1]:.4g} ms"
        )
    within = evidence.up_to(allowed)
    if goal.mean_ms is not None:
        found = _mean(goal.mean_ms, within, costs)
    elif goal.max_loss is not None:
        found = _loss(goal, within, evidence.correct[-1], costs)
    else:
        found = _found(np.asarray([math.inf] * (allowed - 1) + [-math.inf]))
    rest = [math.inf] * (evidence.exits - allowed)
    return found._replace(
        thresholds=np.concatenate((found.thresholds, rest)), notes=tuple(notes) + found.notes
    )


def _found(thresholds: np.ndarray, *notes: str) -> Found:
    return Found(np.asarray(thresholds, np.float64), notes)


def _p99(costs: Costs) -> Sequence[float]:
    assert costs.p99 is not None  # goals in ms were checked to have measured costs
    return costs.p99


def _exits_within(p99_ms: float, costs: Costs) -> int:
    within = sum(tail <= p99_ms for tail in _p99(costs))
    if not within:
        raise Unreachable(
            f"a p99 of {p99_ms:g} ms cannot be reached: {costs.exits[0]} alone takes {_p99(costs)[0]:.4g} ms, which is the"
            f" nearest p99 that can; times are those of {costs.source}"
        )
    return within


def _mean(mean_ms: float, evidence: Evidence, costs: Costs) -> Found:
    exits = evidence.exits
    if mean_ms < costs.mean[0]:
        raise Unreachable(
            f"a mean of {mean_ms:g} ms cannot be reached: leaving always at {costs.exits[0]} takes {costs.mean[0]:.4g} ms,"
            f" which is the nearest that can; times are those of {costs.source}"
        )
    path = find_path(evidence, costs.mean[:exits])
    thresholds = path.thresholds(path.place_of_mean(evidence, costs.mean[:exits], mean_ms))
    if mean_ms >= costs.mean[exits - 1]:
        return _found(
            thresholds,
            f"{costs.exits[exits - 1]} takes {costs.mean[exits - 1]:.4g} ms, less than that: nobody need leave early",
        )
    return _found(thresholds, *_by_chance(evidence, thresholds, costs))


def _by_chance(evidence: Evidence, thresholds: np.ndarray, costs: Costs) -> Tuple[str, ...]:
    """How far the mean of other samples is from that of these by chance alone, where that is worth a word."""
    took = np.asarray(costs.mean)[outcome(evidence, thresholds).taken]
    apart = OFTEN * float(took.std() / took.mean())  # of one sample
    if apart <= ALIKE * math.sqrt(evidence.samples):
        return ()
    return (
        f"{evidence.samples} samples tell the mean of others to within {100 * apart / math.sqrt(evidence.samples):.0f} % with 95 %"
        f" confidence; {math.ceil((apart / ALIKE) ** 2)} would tell it to within {100 * ALIKE:.0f} %",
    )


def _loss(goal: Goal, evidence: Evidence, reference: np.ndarray, costs: Costs) -> Found:
    """Thresholds found on one half of the samples, and taken as far as the other half certifies.

    Places on the way are tested in their order until one fails, so that testing many needs no correction: fixed sequence
    testing, as in Angelopoulos et al., "Learn then Test" (arXiv 2110.01052, section 3).
    """
    assert goal.max_loss is not None
    wanted, samples = goal.max_loss, evidence.samples
    needed = 2 * samples_needed(wanted, goal.confidence)
    if samples < needed:
        raise InputError(
            f"{samples} samples cannot show that at most {100 * wanted:.3g} points of accuracy are lost with"
            f" {100 * goal.confidence:g} % confidence: at least {needed} labelled samples are needed, half of them to find the"
            " thresholds and half to test them"
        )
    order = np.random.RandomState(0).permutation(samples)
    half = samples // 2
    path = find_path(evidence.part(order[half:]), costs.mean[: evidence.exits])
    unseen, truth = evidence.part(order[:half]), reference[order[:half]]
    best: Optional[Found] = None
    nearest: Tuple[float, float] = (math.inf, 0.0)
    before: Optional[np.ndarray] = None
    leaving = False
    for place in np.linspace(0.0, 1.0, PLACES + 1):
        thresholds = path.thresholds(float(place))
        if before is not None and (thresholds == before).all():
            continue
        before = thresholds
        certificate, early, mean = _test(thresholds, unseen, truth, costs, goal.confidence)
        if early and certificate.at_most < nearest[0]:
            nearest = certificate.at_most, mean
        if certificate.at_most > wanted:
            break
        best, leaving = Found(thresholds, (), certificate), early
    if best is None or not leaving:
        raise Unreachable(
            _why_no_loss(goal, nearest, best, evidence.exits < len(costs.exits), costs, samples)
        )
    return best


def _test(
    thresholds: np.ndarray, unseen: Evidence, truth: np.ndarray, costs: Costs, confidence: float
) -> Tuple[Certificate, bool, float]:
    """The loss on unseen samples, whether any of them leaves early, and their mean cost."""
    reached = outcome(unseen, thresholds)
    lost, won = int((truth & ~reached.correct).sum()), int((reached.correct & ~truth).sum())
    at_most = largest_loss(lost, won, unseen.samples, confidence)
    certificate = Certificate(unseen.samples, (lost - won) / unseen.samples, at_most)
    return certificate, reached.shares[-1] < 1, reached.mean(costs.mean[: unseen.exits])


def _why_no_loss(
    goal: Goal, nearest: Tuple[float, float], best: Optional[Found], capped: bool, costs: Costs, samples: int
) -> str:
    wanted = f"a loss of at most {100 * (goal.max_loss or 0):.3g} points with {100 * goal.confidence:g} % confidence"
    if best is None and capped:
        return f"{wanted} cannot be reached within that p99: the last exit within it loses more, or cannot be told not to"
    if math.isinf(nearest[0]):
        return f"{wanted} cannot be reached: nobody leaves early on these {samples} samples"
    return (
        f"{wanted} cannot be reached by leaving early, as far as {samples} samples can tell; the nearest that can is at most"
        f" {100 * nearest[0]:.3g} points, at a mean of {nearest[1]:.4g} {costs.unit}. Give more samples, or allow that much"
    )
