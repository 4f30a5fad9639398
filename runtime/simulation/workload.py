"""What a simulated device is given: when frames come and how long every stage of each takes, whoever schedules them."""

import json
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.errors import InputError, OptionError
from edgekit.runtime.simulation.recording import RecordedFrame, Recording

# How unevenly a neighbour slows stages, as the standard deviation of the logarithm: it takes turns in slices of some ms.
NEIGHBOUR_SPREAD = 0.1


class Slowdown(NamedTuple):
    """Frames ``first`` up to but not including ``end`` take ``factor`` times as long; ``end`` None: all that follow."""

    factor: float
    first: int
    end: Optional[int]


class Every(NamedTuple):
    """A factor, and how often or how long it holds: in frames, or as a share of stage runs."""

    factor: float
    number: float


class Conditions(NamedTuple):
    """What happens to the device meanwhile.

    Attributes:
        slowdowns: steps.
        neighbour: on for so many frames, off for so many, and so on.
        outliers: single stage runs, by their share.
        idle: a pause before every so many frames; the first frame after it is slower.
    """

    slowdowns: Tuple[Slowdown, ...] = ()
    neighbour: Optional[Every] = None
    outliers: Optional[Every] = None
    idle: Optional[Every] = None


QUIET = Conditions()
# Frames that are asked what a stage would have taken beside others that took so long
NEAREST = 20
PAUSE_MS = 1000.0  # of `Conditions.idle`


class Workload(NamedTuple):
    """The truth of a simulation; nothing of it is known to a scheduler before it happens, but to the oracle.

    Attributes:
        stages: name, and whether it has an exit.
        arrivals: instant in ms of every frame (frames,).
        ready_ms: preparing its inputs takes (frames,).
        durations: ms (frames, stages).
        measured: durations by stage that were known before.
    """

    stages: Tuple[Tuple[str, bool], ...]
    arrivals: np.ndarray
    ready_ms: np.ndarray
    durations: np.ndarray
    measured: Mapping[str, Tuple[float, ...]]


def modelled(
    stages: Sequence[Tuple[str, bool]],
    measured: Mapping[str, Sequence[float]],
    frames: int,
    rate: float,
    seed: int,
    conditions: Conditions = QUIET,
) -> Workload:
    """Frames whose stages take what they were measured at, drawn anew, under ``conditions``.

    Args:
        stages: name, and whether it has an exit.
        measured: durations in ms by stage.
        frames: how many.
        rate: frames a second.
        seed: the same one gives the same frames, on every version of numpy.
        conditions: what happens meanwhile.
    """
    random = np.random.RandomState(seed)
    columns = [random.choice(np.asarray(measured[name], np.float64), frames) for name, _ in stages]
    durations = np.stack(columns, axis=1)
    known = {name: tuple(float(one) for one in measured[name]) for name, _ in stages}
    return _under(
        conditions, Workload(tuple(stages), np.zeros(0), np.zeros(frames), durations, known), rate, random
    )


def recorded(
    recording: Recording, frames: Optional[int], rate: float, seed: int, conditions: Conditions = QUIET
) -> Workload:
    """The frames of a recording in their order, from the start again when they end, under ``conditions``.

    A stage that did not run to its end in a frame takes what it took, for its pace, in one of the `NEAREST` frames whose stages
    before it took most nearly as long, drawn at random; one that was cancelled, at least as long as it had run. Where enough of them
    had no budget only these are asked: of frames within one, a stage is only known where it was expected to be quick.

    Raises:
        InputError: there is a stage that never ran to its end.
    """
    random = np.random.RandomState(seed)
    names = [name for name, _ in recording.stages]
    seen = np.array([_row(frame, names) for frame in recording.frames], np.float64).reshape(-1, len(names))
    for k, name in enumerate(names):
        if np.isnan(seen[:, k]).all():
            raise InputError(
                f"in this recording of {len(seen)} frames {name} never ran to its end: record frames without a budget, as"
                " `edgekit bench BUNDLE --record FILE` does"
            )
    free = np.array([frame.budget_ms is None for frame in recording.frames], bool)
    table, alike = seen.copy(), _Alike(seen, free)
    for number, missing in enumerate(np.isnan(seen)):
        cut = recording.frames[number].cut
        for k in np.flatnonzero(missing).tolist():
            likely = alike.durations(seen[number], k)
            if cut is not None and cut[0] == names[k]:  # it would have taken longer than that
                likely = likely[likely > cut[2]]
            table[number, k] = random.choice(likely) if len(likely) or cut is None else cut[2]
    count = len(table) if frames is None else frames
    order = np.arange(count) % len(table)
    ready = np.array([frame.ready - frame.started for frame in recording.frames])[order]
    measured = {name: recording.measured.get(name, ()) or _first(recording, name) for name in names}
    return _under(
        conditions, Workload(recording.stages, np.zeros(0), ready, table[order], measured), rate, random
    )


def read_durations(path: str, names: Sequence[str]) -> Dict[str, Tuple[float, ...]]:
    """Durations in ms by stage from a profile that `edgekit bench` keeps in a bundle, of whatever device.

    Raises:
        OSError: it cannot be read.
        InputError: it is no profile, or not one of a network with these stages.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        found = json.loads(data.decode("utf-8"))["stages"]
        durations = {str(name): tuple(map(float, entry["durations_ms"])) for name, entry in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no profile; `edgekit bench` keeps them in BUNDLE/profiles") from error
    absent = [name for name in names if not durations.get(name) or not min(durations[name]) > 0]
    if absent:
        raise InputError(
            f"{path} has no durations of {', '.join(absent)}: it is the profile of another network"
        )
    return {name: durations[name] for name in names}


def origin(path: str) -> str:
    """What to call the durations in this profile: measured, or predicted where `edgekit estimate` wrote it.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        predicted = json.loads(data.decode("utf-8")).get("predicted")
    except (ValueError, AttributeError):
        predicted = None
    return f"profile {path}" if predicted is None else f"{path}, {predicted}"


def parse_slowdown(text: str) -> Slowdown:
    """``2x@100..200``: twice as slow from frame 100 on, up to 200; ``2x@100``: for good.

    Raises:
        OptionError: it is written otherwise.
    """
    factor, at, span = text.partition("x@")
    first, _, end = span.partition("..")
    try:
        step = Slowdown(float(factor), int(first), int(end) if end else None)
    except ValueError:
        step = Slowdown(0.0, 0, None)
    if not (
        at and 0 < step.factor < np.inf and step.first >= 0 and (step.end is None or step.end > step.first)
    ):
        raise OptionError(
            f"--slowdown {text}: give a factor and frames, such as 2x@100..200, or 1.5x@300 for good"
        )
    return step


def parse_every(option: str, text: str, meaning: str, most: float = np.inf) -> Every:
    """``FACTORx:NUMBER``, both above 0.

    Raises:
        OptionError: it is written otherwise; the message tells ``meaning``, an example.
    """
    factor, colon, number = text.partition("x:")
    try:
        found = Every(float(factor), float(number))
    except ValueError:
        found = Every(0.0, 0.0)
    if not (colon and 0 < found.factor < np.inf and 0 < found.number < np.inf and found.number <= most):
        raise OptionError(f"{option} {text}: give {meaning}")
    return found


def _under(conditions: Conditions, quiet: Workload, rate: float, random: np.random.RandomState) -> Workload:
    durations = quiet.durations.copy()
    frames, stages = durations.shape
    number = np.arange(frames)
    for step in conditions.slowdowns:
        durations[step.first : step.end] *= step.factor
    if conditions.neighbour is not None:
        factor, period = conditions.neighbour
        uneven = factor * random.lognormal(0.0, NEIGHBOUR_SPREAD, durations.shape)
        on = number // max(int(period), 1) % 2 == 1
        durations *= np.where(on[:, None], np.maximum(uneven, 1.0), 1.0)
    if conditions.outliers is not None:
        factor, share = conditions.outliers
        durations *= np.where(random.random_sample((frames, stages)) < share, factor, 1.0)
    gaps = np.full(frames, 1e3 / rate)
    gaps[0] = 0.0
    if conditions.idle is not None:
        factor, period = conditions.idle
        after = number % max(int(period), 1) == 0
        after[0] = False
        gaps[after] += PAUSE_MS
        durations[after] *= factor
    return quiet._replace(arrivals=np.cumsum(gaps), durations=durations)


class _Alike:
    """What a stage takes in frames whose other stages take so long; ``free``: frames without a budget."""

    def __init__(self, seen: np.ndarray, free: np.ndarray) -> None:
        self._seen, self._free = seen, free
        self._usual = np.nanmedian(seen, axis=0)
        self._known: Dict[Tuple[bytes, int], Tuple[np.ndarray, np.ndarray]] = {}

    def durations(self, row: np.ndarray, stage: int) -> np.ndarray:
        """Those of ``stage``, at the pace of a frame with the durations ``row``, in the frames nearest to that pace."""
        ran = ~np.isnan(row)
        key = ran.tobytes(), stage
        if key not in self._known:
            self._known[key] = self._by_pace(ran, stage)
        paces, ratios = self._known[key]
        if not ran.any():
            return ratios
        pace = self._paces(row[None], ran)[0]
        first = int(np.searchsorted(paces, pace)) - NEAREST // 2
        first = max(0, min(first, len(paces) - NEAREST))
        near: np.ndarray = ratios[first : first + NEAREST] * pace
        return near

    def _by_pace(self, ran: np.ndarray, stage: int) -> Tuple[np.ndarray, np.ndarray]:
        """The paces of the frames that are asked, in rising order, and what the stage took in each for its pace."""
        rows = ~np.isnan(self._seen[:, stage])
        if (rows & self._free).sum() >= NEAREST:
            rows &= self._free
        paces = self._paces(self._seen[rows], ran)
        order = np.argsort(paces, kind="stable")
        return paces[order], (self._seen[rows, stage] / paces)[order]

    def _paces(self, rows: np.ndarray, ran: np.ndarray) -> np.ndarray:
        """How many times longer than usual the stages that ``ran`` took in every row; 1 where none of them is known."""
        ratios = (rows / self._usual)[:, ran]
        paces = np.ones(len(rows))
        partly = ~np.isnan(ratios).all(axis=1)
        paces[partly] = np.nanmedian(ratios[partly], axis=1)
        return paces


def _row(frame: RecordedFrame, names: Sequence[str]) -> List[float]:
    took = {name: duration for name, _, duration in frame.stages}
    return [took.get(name, np.nan) for name in names]


def _first(recording: Recording, name: str) -> Tuple[float, ...]:
    """What the recorded session itself had seen of a stage after its first frames, which are cold."""
    took = [span[2] for frame in recording.frames for span in frame.stages if span[0] == name]
    return tuple(took[1:21] or took)
