"""At what pace a device runs now, against the one that its profile was measured at: a mean is kept at the pace of the frames."""

from typing import Dict, List, Mapping, NamedTuple, Sequence

import numpy as np

# Beyond a factor of two it is not the same device in another minute: another power mode, other graphs, or a made-up profile.
SLOWEST, FASTEST = 2.0, 0.5
ALIKE = 0.05  # differences of the pace that are not worth a word


class Pace(NamedTuple):
    """What all stages take together, in ms: by the profile, and in frames of now."""

    profile_ms: float
    now_ms: float

    @property
    def ratio(self) -> float:
        """How many times as long they take now."""
        return self.now_ms / self.profile_ms

    @property
    def plausible(self) -> bool:
        """Whether the profile can be that of this device, under what it does now."""
        return FASTEST <= self.ratio <= SLOWEST

    @property
    def alike(self) -> bool:
        """Whether there is nothing to say of it."""
        return abs(self.ratio - 1) <= ALIKE

    def to_json(self) -> Dict[str, object]:
        """The figures by name."""
        return dict(self._asdict())


def pace_of(frames: Sequence[Mapping[str, float]], durations: Mapping[str, Sequence[float]]) -> Pace:
    """The pace of frames that ran every stage (ms by stage), beside a profile's durations in ms."""
    together = [sum(frame[name] for name in durations) for frame in frames]
    return Pace(sum(float(np.median(runs)) for runs in durations.values()), float(np.median(together)))


def at_pace(
    durations: Mapping[str, Sequence[float]], frames: Sequence[Mapping[str, float]]
) -> Dict[str, List[float]]:
    """A profile's durations as they would be in frames of now (ms by stage), stage by stage.

    What slows a device does not slow all stages alike: a mean that most answers leave early for hangs on the first of them.
    """
    ratio = {
        name: float(np.median([frame[name] for frame in frames]) / np.median(runs))
        for name, runs in durations.items()
    }
    return {name: [ratio[name] * one for one in runs] for name, runs in durations.items()}
