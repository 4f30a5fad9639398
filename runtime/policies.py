"""When an answer is good enough: policies that stop a frame before its time is up. They compose; the budget always holds.

A policy of your own is a class with one method; docs/scheduler.md shows one.
"""

import math
from collections import deque
from typing import Deque, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import OptionError
from edgekit.runtime.confidence import MEASURES, confidence, confidence_of_one


class Reached(NamedTuple):
    """What a policy decides on: instants in ms on the session's clock, and the exits so far.

    ``exits``: stage and raw output of every exit reached, the best last. ``deadline``: None if there is none.
    """

    now: float
    deadline: Optional[float]
    exits: Sequence[Tuple[str, np.ndarray]]


class Policy:
    """Decides at every exit whether its answer is good enough. Only one frame at a time asks."""

    def check(self, manifest: Manifest) -> None:
        """Refuse a network that this policy cannot work with; called when a session is opened.

        Raises:
            OptionError: why.
        """

    def stop(self, reached: Reached) -> Optional[str]:
        """A word for the result's ``reason`` to stop here; None to go on."""

    def stop_each(self, reached: Sequence[Reached]) -> Sequence[Optional[str]]:
        """`stop` for samples of a batch that have come to the same exit, in their order."""
        return [self.stop(one) for one in reached]

    def over(self, elapsed_ms: float) -> None:
        """A frame is over, ``elapsed_ms`` after its call."""


def check_policies(policies: Sequence[Policy], manifest: Manifest) -> None:
    """Have every policy look at the network.

    Raises:
        OptionError: one cannot work with it, or is no policy.
    """
    if not _several(policies) or not all(isinstance(policy, Policy) for policy in policies):
        raise OptionError(
            f"policies={policies!r}: must be a list of policies, such as [FixedStage('stage2')]"
        )
    for policy in policies:
        policy.check(manifest)


class FixedStage(Policy):
    """Stops at the exit of one stage, whatever time is left; ``reason`` is ``fixed``."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def check(self, manifest: Manifest) -> None:
        """See `Policy.check`."""
        exits = [stage.name for stage in manifest.stages if stage.exit is not None]
        if self.stage not in exits:
            raise OptionError(
                f"stage {self.stage!r} has no exit to stop at; the stages with one are {', '.join(exits)}"
            )

    def stop(self, reached: Reached) -> Optional[str]:
        """See `Policy.stop`."""
        return "fixed" if reached.exits[-1][0] == self.stage else None


Thresholds = Union[Mapping[str, float], Sequence[Optional[float]], None]


class Confidence(Policy):
    """Stops at the first exit that is sure enough of its class; ``reason`` is ``confident``.

    Args:
        thresholds: by stage, or one for each exit in order (the last exit needs none); None takes those that were
            calibrated into the bundle. An exit without a threshold never stops.
        measure: ``probability`` (largest softmax), ``margin`` (largest less second) or ``entropy`` (1 less the normalised
            entropy); 0 to 1, larger is surer. By default what the bundle was calibrated with, else ``probability``.

    Where the bundle was calibrated, logits are divided by their exit's temperature first.
    """

    def __init__(self, thresholds: Thresholds = None, measure: Optional[str] = None) -> None:
        if measure is not None and measure not in MEASURES:
            raise OptionError(f"measure={measure!r}: must be one of {', '.join(MEASURES)}")
        self.thresholds: Dict[str, float] = {}
        self.shift = 0.0  # added to every threshold on the scale of log odds
        self._given = thresholds
        self._asked = measure
        self._measure = measure or "probability"
        self._temperatures: Dict[str, float] = {}

    def check(self, manifest: Manifest) -> None:
        """See `Policy.check`."""
        if manifest.task != "classification":
            raise OptionError(
                f"confidence needs logits, and {manifest.name} is a network for {manifest.task}; use a budget"
            )
        exits = [stage.name for stage in manifest.stages if stage.exit is not None]
        calibrated = manifest.calibration.measure if manifest.calibration is not None else "probability"
        self._measure = self._asked or calibrated
        self._temperatures = {name: spec.temperature or 1.0 for name, spec in manifest.exits.items()}
        given = self._given
        if given is None:
            if self._measure != calibrated:
                raise OptionError(
                    f"measure={self._measure!r}: {manifest.name}'s thresholds were calibrated for {calibrated}; leave"
                    " measure out, or calibrate again with --measure"
                )
            given = {
                name: spec.threshold for name, spec in manifest.exits.items() if spec.threshold is not None
            }
            if not given and manifest.calibration is None:  # calibrated, it means that nobody leaves early
                raise OptionError(
                    f"{manifest.name} has no calibrated thresholds; give your own, one for each exit"
                )
        if not _several(given):
            raise OptionError(f"thresholds={given!r}: give one number for each exit, as a list or by stage")
        if not isinstance(given, Mapping):
            if len(given) not in (len(exits), len(exits) - 1):
                raise OptionError(
                    f"{len(given)} thresholds for {len(exits)} exits ({', '.join(exits)}): give one for each"
                )
            given = {name: value for name, value in zip(exits, given) if value is not None}
        for name, value in given.items():
            if name not in exits:
                raise OptionError(
                    f"thresholds: {name!r} has no exit; the stages with one are {', '.join(exits)}"
                )
            if not (_is_number(value) and 0 <= value <= 1):
                raise OptionError(f"thresholds: {name}={value!r} must be from 0 to 1")
        self.thresholds = dict(given)

    def stop(self, reached: Reached) -> Optional[str]:
        """See `Policy.stop`."""
        stage, logits = reached.exits[-1]
        if stage not in self.thresholds:
            return None
        sure = confidence_of_one(logits, self._measure, self._temperatures.get(stage, 1.0))
        return "confident" if _log_odds(sure) >= self._enough(stage) else None

    def stop_each(self, reached: Sequence[Reached]) -> Sequence[Optional[str]]:
        """See `Policy.stop_each`."""
        stage = reached[0].exits[-1][0] if reached else ""
        if stage not in self.thresholds:
            return [None] * len(reached)
        logits = np.stack([one.exits[-1][1].ravel() for one in reached])
        sure = confidence(logits, self._measure, self._temperatures.get(stage, 1.0))
        enough = self._enough(stage)
        return ["confident" if _log_odds(one) >= enough else None for one in sure.tolist()]

    def _enough(self, stage: str) -> float:
        """The log odds at which the exit of ``stage`` is sure enough."""
        return _log_odds(self.thresholds[stage]) + self.shift


def calibrated_policies(manifest: Manifest) -> Tuple[Policy, ...]:
    """What a calibrated network's frames are to be stopped by; nothing where no exit has a calibrated threshold."""
    known = any(spec.threshold is not None for spec in manifest.exits.values())
    return (Confidence(),) if manifest.calibration is not None and known else ()


class AverageBudget(Policy):
    """Holds a mean latency over many frames by moving the thresholds of a confidence policy.

    Hard frames may take longer than the mean as long as easy ones make up for it; give a budget as well to bound each.

    Args:
        mean_ms: what frames are to take on average.
        confidence: where to start; it must not be given to the session as well.
        window: over how many frames the mean is held.
    """

    def __init__(self, mean_ms: float, confidence: Confidence, window: int = 100) -> None:
        if not (_is_number(mean_ms) and mean_ms > 0 and math.isfinite(mean_ms)):
            raise OptionError(f"mean_ms={mean_ms!r}: must be a positive number of milliseconds")
        if not isinstance(window, int) or window < 2:
            raise OptionError(f"window={window!r}: must be a whole number of frames, at least 2")
        if not isinstance(confidence, Confidence):
            raise OptionError(
                f"confidence={confidence!r}: must be the Confidence whose thresholds are to be moved"
            )
        self.mean_ms = mean_ms
        self.confidence = confidence
        self._elapsed: Deque[float] = deque(maxlen=window)

    def check(self, manifest: Manifest) -> None:
        """See `Policy.check`."""
        self.confidence.check(manifest)
        if not self.confidence.thresholds:
            raise OptionError(
                f"{manifest.name} was calibrated so that nobody leaves early, which leaves no threshold to move; give"
                " Confidence thresholds, or calibrate for a shorter mean"
            )

    def stop(self, reached: Reached) -> Optional[str]:
        """See `Policy.stop`."""
        return self.confidence.stop(reached)

    def over(self, elapsed_ms: float) -> None:
        """Too slow: lower the thresholds, so that frames leave earlier; too fast: raise them."""
        self._elapsed.append(elapsed_ms)
        window = self._elapsed.maxlen or 1
        mean = sum(self._elapsed) / len(self._elapsed)
        # The frame just measured says where the thresholds should go; the mean of the window, what there is to make up for.
        error = (elapsed_ms - self.mean_ms + mean - self.mean_ms) / self.mean_ms
        self.confidence.shift = min(max(self.confidence.shift - GAIN / window * error, -FARTHEST), FARTHEST)


# Log odds that a window of frames of twice the mean moves the thresholds by, and how far they may go: at 12, a threshold of
# one half has become one of 6e-6, or of 1 - 6e-6.
GAIN, FARTHEST = 4.0, 12.0


def _several(value: object) -> bool:
    return isinstance(value, (Mapping, Sequence, np.ndarray)) and not isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _log_odds(share: float) -> float:
    if share <= 0:
        return -math.inf
    return math.inf if share >= 1 else math.log(share / (1 - share))
