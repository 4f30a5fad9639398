"""Whether early exits pay: against every exit by itself at the same accuracy, as surely as the samples allow."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from edgekit.runtime.calibration.exit_path import find_path
from edgekit.runtime.calibration.exiting import Evidence, exits_taken
from edgekit.runtime.calibration.frontier import held_out
from edgekit.runtime.intervals import wilson

PLACES = 65  # mean costs between the first exit's and the last's at which early exits are tried
REPLICATES, AT_ONCE = 1000, 100  # of the bootstrap (Efron 1979), and how many are worked on at once
OUTSIDE = 0.025  # of the replicates on each side of an interval
USUAL = 95.0  # percentile that slower times count as: what others on the processor took is nobody's merit
FRONTIER, DOMINATED, UNKNOWN = "frontier", "dominated", "cannot be told"


class Timed(NamedTuple):
    """Samples that were answered at every exit.

    Attributes:
        evidence: how sure the exits were, and whether they were right.
        plain_ms: float (exits, samples): from the call to each exit, where nobody asks how sure it is.
        asked_ms: the same where every exit is asked.
    """

    evidence: Evidence
    plain_ms: np.ndarray
    asked_ms: np.ndarray


class Comparison(NamedTuple):
    """Early exits against one exit by itself.

    Attributes:
        accuracy: of the exit, 0 to 1, with its 95 % ``interval``; ``mean_ms`` is what it takes.
        early_ms: what early exits take for that accuracy; None where they do not reach it.
        ratio: of the two times, with its 95 % interval; the upper end is None where that accuracy may not be reached at all.
        verdict: ``frontier``: early exits are faster; ``dominated``: they are slower; ``cannot be told``: the samples do not
            separate the two. None for the first exit, before which nobody can leave.
    """

    accuracy: float
    interval: Tuple[float, float]
    mean_ms: float
    early_ms: Optional[float]
    ratio: Optional[float]
    ratio_interval: Tuple[Optional[float], Optional[float]]
    verdict: Optional[str]

    def to_json(self) -> Dict[str, object]:
        """The figures by name."""
        return dict(self._asdict(), interval=list(self.interval), ratio_interval=list(self.ratio_interval))


class Standing(NamedTuple):
    """The thresholds that are in the bundle: what they make of the samples, and whether some exit by itself beats them.

    ``beaten`` is the share of the bootstrap's replicates in which an exit is at least as accurate and at least as fast.
    """

    accuracy: float
    interval: Tuple[float, float]
    mean_ms: float
    shares: Tuple[float, ...]
    beaten: float
    verdict: str

    def to_json(self) -> Dict[str, object]:
        """The figures by name."""
        return dict(self._asdict(), interval=list(self.interval), shares=list(self.shares))


class Verdict(NamedTuple):
    """All comparisons, in the exits' order, and how the bundle's own thresholds stand; None without any."""

    samples: int
    comparisons: Tuple[Comparison, ...]
    standing: Optional[Standing]


def judge(timed: Timed, thresholds: Optional[np.ndarray]) -> Verdict:
    """Compare early exits with every exit by itself; ``thresholds`` are the bundle's own, where it has any.

    Early exits are tried at many mean costs with thresholds found on the other half of the samples, so their accuracy is not
    that of hindsight. Intervals are of the samples drawn anew: accuracy and time of both sides vary together. An exit's times
    above their 95th percentile count as that.
    """
    timed = timed._replace(plain_ms=_usual(timed.plain_ms), asked_ms=_usual(timed.asked_ms))
    early_right, early_ms = _early(timed)
    exits, samples = timed.plain_ms.shape
    own = None if thresholds is None else exits_taken(timed.evidence.confidence, thresholds)
    rows = [timed.evidence.correct, timed.plain_ms, early_right, early_ms]
    if own is not None:
        columns = np.arange(samples)
        rows += [timed.evidence.correct[own, columns][None], timed.asked_ms[own, columns][None]]
    values = np.concatenate([np.asarray(one, np.float64) for one in rows])
    point, drawn = values.mean(axis=1), _replicates(values)
    sizes = np.cumsum([len(one) for one in rows])[:-1]
    right, plain, frontier, ms = (np.split(point, sizes)[k] for k in range(4))
    rights, plains, frontiers, all_ms = (np.split(drawn, sizes, axis=1)[k] for k in range(4))
    comparisons = []
    for k in range(exits):
        matched = float(_time_at(frontier[None], ms[None], right[k : k + 1])[0])
        ratios = _time_at(frontiers, all_ms, rights[:, k]) / plains[:, k]
        hits = int(timed.evidence.correct[k].sum())
        low, high = _ends(ratios)
        reached = np.isfinite(matched)
        comparisons.append(
            Comparison(
                hits / samples,
                wilson(hits, samples),
                float(plain[k]),
                matched if reached else None,
                matched / float(plain[k]) if reached else None,
                (low if np.isfinite(low) else None, high if np.isfinite(high) else None),
                None if k == 0 else FRONTIER if high < 1 else DOMINATED if low > 1 else UNKNOWN,
            )
        )
    standing = None
    if own is not None:
        own_right, own_ms = drawn[:, -2:-1], drawn[:, -1:]
        beaten = float(((rights >= own_right) & (plains <= own_ms)).any(axis=1).mean())
        verdict = FRONTIER if beaten <= OUTSIDE else DOMINATED if beaten >= 1 - OUTSIDE else UNKNOWN
        shares = np.bincount(own, minlength=exits) / samples
        hits = round(float(point[-2]) * samples)
        standing = Standing(
            float(point[-2]), wilson(hits, samples), float(point[-1]), tuple(shares.tolist()), beaten, verdict
        )
    return Verdict(samples, tuple(comparisons), standing)


def summary(verdict: Verdict, exits: Tuple[str, ...]) -> str:
    """The verdict in a sentence: does leaving early pay on this device, with these samples?"""
    last = verdict.comparisons[-1]
    enough = [
        name
        for name, one in zip(exits[:-1], verdict.comparisons)
        if one.accuracy >= last.accuracy and one.mean_ms <= (last.early_ms or last.mean_ms)
    ]
    if enough:
        return (
            f"Early exits do not pay here: {enough[0]} by itself is as accurate as all stages on these samples, and no slower"
            " than early exits."
        )
    dominating = [
        name for name, one in zip(exits, verdict.comparisons) if one.verdict == DOMINATED and one is not last
    ]
    if last.verdict == FRONTIER and last.ratio is not None:
        text = f"Early exits pay here: the accuracy of all stages in {last.ratio:.2f} of their time"
        low, high = last.ratio_interval
        text += f" (95 %: {low or 0.0:.2f} to {high or 0.0:.2f})"
        if dominating:
            text += f"; but where the accuracy of {', '.join(dominating)} is enough, that exit by itself is faster"
        return text + "."
    if last.verdict == DOMINATED:
        return "Early exits do not pay here: for the accuracy of all stages, running all stages is faster."
    return (
        f"Whether early exits pay here cannot be told from {verdict.samples} samples: their time for the accuracy of all stages"
        " may be shorter or longer. Give more samples."
    )


def _usual(ms: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum(ms, np.percentile(ms, USUAL, axis=1)[:, None]))


def _early(timed: Timed) -> Tuple[np.ndarray, np.ndarray]:
    """Whether each sample is right, and its ms, at every one of `PLACES` mean costs; both (places, samples)."""
    costs = timed.asked_ms.mean(axis=1)
    means = np.linspace(costs[0], costs[-1], PLACES)

    def thresholds(seen: Evidence) -> List[np.ndarray]:
        path = find_path(seen, costs.tolist())
        return [path.thresholds(path.place_of_mean(seen, costs.tolist(), float(mean))) for mean in means]

    taken = np.asarray([one.taken for one in held_out(timed.evidence, thresholds)])
    columns = np.arange(timed.evidence.samples)
    return timed.evidence.correct[taken, columns], timed.asked_ms[taken, columns]


def _replicates(values: np.ndarray) -> np.ndarray:
    """The means of ``values`` (rows, samples) over samples drawn anew: (replicates, rows)."""
    samples = values.shape[1]
    random = np.random.RandomState(2)
    means = []
    for _ in range(REPLICATES // AT_ONCE):
        weights = random.multinomial(samples, np.full(samples, 1.0 / samples), AT_ONCE)
        means.append(weights @ values.T / samples)
    return np.concatenate(means)


def _time_at(accuracies: np.ndarray, ms: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The ms at which the accuracies (replicates, places) first reach ``wanted`` (replicates,); infinite if nowhere."""
    reached = accuracies >= wanted[:, None]
    first = reached.argmax(axis=1)
    rows = np.arange(len(first))
    before = np.maximum(first - 1, 0)
    a, b = accuracies[rows, before], accuracies[rows, first]
    share = np.where(b > a, (wanted - a) / np.where(b > a, b - a, 1.0), 1.0)
    found = ms[rows, before] + np.clip(share, 0.0, 1.0) * (ms[rows, first] - ms[rows, before])
    return np.where(reached.any(axis=1), found, np.inf)


def _ends(values: np.ndarray) -> Tuple[float, float]:
    # Not np.percentile: between a number and infinity there is nothing to interpolate
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[int(OUTSIDE * last)]), float(ordered[int(np.ceil((1 - OUTSIDE) * last))])
