"""Which of a bundle's networks answers a frame: the best that fits, and never a worse answer after a better one."""

import math
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Manifest
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.policies import Policy, Reached
from edgekit.runtime.scheduler import Decision, Scheduler

Exit = Tuple[str, np.ndarray]


class Way(NamedTuple):
    """How one exit is reached: the number of its network, and that network's stages from its first to the exit's."""

    network: int
    stages: Tuple[str, ...]

    @property
    def exit(self) -> str:
        """The stage whose exit it is."""
        return self.stages[-1]


def ladder(manifest: Manifest) -> Tuple[Way, ...]:
    """The ways to all exits, the worst first.

    Exits of one network are better the later they come. Between networks, what is better is what is more accurate where
    every exit's accuracy is known, and else what takes more multiply-adds from the network's beginning to the exit.
    """
    stages = {stage.name: stage for stage in manifest.stages}
    exits = [name for name, stage in stages.items() if stage.exit is not None]
    accuracy = {name: manifest.exits[name].accuracy for name in exits if name in manifest.exits}
    known = all(accuracy.get(name) is not None for name in exits)
    networks = [network.stages for network in manifest.networks] or [tuple(stages)]
    ranked = []
    for number, names in enumerate(networks):
        worth, macs = float("-inf"), 0
        for k, name in enumerate(names):
            macs += stages[name].macs
            if name in exits:
                worth = max(worth, accuracy[name] or 0.0 if known else float(macs))
                ranked.append((worth, number, k, Way(number, names[: k + 1])))
    return tuple(way for _, _, _, way in sorted(ranked))


def scheduler_of(manifest: Manifest, model: LatencyModel, policies: Sequence[Policy] = ()) -> Scheduler:
    """The scheduler for what ``manifest`` holds: one network, or several to choose among."""
    if manifest.networks:
        return Alternatives(manifest, model, policies)
    return Scheduler([(stage.name, stage.exit is not None) for stage in manifest.stages], model, policies)


class Alternatives(Scheduler):
    """Chooses the network for a frame when it begins, follows it, and chooses again when it has ended.

    When there is no answer yet: the network of the best exit whose stages are all expected to be over in time, if that is as
    sure of its network's first exit as the model's own confidence demands (a network that does not make it leaves the frame
    without any answer); if none fits, the quickest. When there is an answer: the way to the best exit that is better and still
    fits, which is rare, since it was not taken at first. Without a deadline: the best exit there is. ``cheapest_first``, for
    callers who look at every answer, begins with the network that answers soonest, whatever the time, and goes on as above.

    Where networks see pictures in sizes of their own, what it takes to prepare these is learned too, and counts.

    Args:
        manifest: of several networks.
        model: predicts the durations of all their stages.
        policies: asked at every exit, as in `Scheduler`; their word ends the frame, not only the network.
    """

    def __init__(self, manifest: Manifest, model: LatencyModel, policies: Sequence[Policy] = ()) -> None:
        has_exit = {stage.name: stage.exit is not None for stage in manifest.stages}
        super().__init__(list(has_exit.items()), model, policies)
        self._ladder = ladder(manifest)
        self._rank = {way.exit: rank for rank, way in enumerate(self._ladder)}
        # Of each network, the way to its first exit.
        self._first_ways = [
            min((way for way in self._ladder if way.network == number), key=lambda way: len(way.stages))
            for number in range(len(manifest.networks))
        ]
        sizes = any(network.inputs for network in manifest.networks)
        self._preparing = LatencyModel(way.stages[0] for way in self._first_ways) if sizes else None
        # By stage: its network, and how many stages of that come before it.
        self._places = [
            (number, done)
            for number, network in enumerate(manifest.networks)
            for done in range(len(network.stages))
        ]

    def prepared(self, stage: str, duration: float) -> None:
        """See `Scheduler.prepared`."""
        if self._preparing is not None:
            self._preparing.learn(stage, duration)

    def improves(self, stage: str, exits: Sequence[Exit]) -> bool:
        """Whether the exit of ``stage`` is better than all that were reached."""
        return not exits or self._rank[stage] > self._rank[exits[-1][0]]

    def next(
        self,
        now: float,
        deadline: Optional[float],
        finished: int,
        exits: Sequence[Exit] = (),
        confidence: Optional[float] = None,
        cheapest_first: bool = False,
    ) -> Decision:
        """Decide on what follows the stage that ran last, which is the ``finished``-th of the bundle; 0: none did."""
        network, done = self._places[finished] if finished < len(self._places) else (-1, 0)
        inside = done > 0
        if self.policies and exits and self._has_exit[finished - 1]:
            reached = Reached(now, deadline, exits)
            for policy in self.policies:
                enough = policy.stop(reached)
                if enough is not None:
                    return Decision(False, self._names[finished] if inside else None, None, enough)
        better = self._ladder[self._rank[exits[-1][0]] + 1 if exits else 0 :]
        if inside:
            ahead = [way for way in better if way.network == network and len(way.stages) > done]
            if ahead:
                return self._go_on(now, deadline, ahead, done, bool(exits), confidence)
        if cheapest_first and not exits:
            return self._begin(self._quickest(), "unlimited" if deadline is None else "first", confidence)
        return self._choose(now, deadline, better, bool(exits), confidence)

    def _go_on(
        self,
        now: float,
        deadline: Optional[float],
        ahead: Sequence[Way],
        done: int,
        answered: bool,
        confidence: Optional[float],
    ) -> Decision:
        """The next stage of the network that has begun, if one of its exits ahead is expected in time."""
        stage = ahead[0].stages[done]
        predicted = self._model.predict(stage, confidence)
        if deadline is None:
            return Decision(True, stage, predicted, "unlimited")
        if not answered:
            return Decision(True, stage, predicted, "first")
        fits = any(self._fits(now, deadline, way.stages[done:], confidence) for way in ahead)
        return Decision(fits, stage, predicted, "fits" if fits else "budget")

    def _choose(
        self,
        now: float,
        deadline: Optional[float],
        better: Sequence[Way],
        answered: bool,
        confidence: Optional[float],
    ) -> Decision:
        """The network of the best exit that fits."""
        if not better:
            return Decision(False, None, None, "final")
        if deadline is None:
            return self._begin(better[-1], "unlimited", confidence)
        for way in reversed(better):
            first, ready = self._first_ways[way.network].stages, now + self._prepare_ms(way)
            if (answered or self._fits(ready, deadline, first, None)) and self._fits(
                ready, deadline, way.stages, confidence
            ):
                return self._begin(way, "fits", confidence)
        if not answered:
            return self._begin(self._quickest(), "first", confidence)
        return self._begin(better[0], "budget", confidence)._replace(run=False)

    def _quickest(self) -> Way:
        """The way to the first answer: measured, not counted in multiply-adds, where anything was measured."""

        def takes(way: Way) -> float:
            predicted = [self._model.predict(stage) for stage in way.stages]
            took = sum(math.inf if duration is None else duration for duration in predicted)
            return took + self._prepare_ms(way)

        return min(self._first_ways, key=takes)

    def _prepare_ms(self, way: Way) -> float:
        """What making its inputs ready takes at most; as long as nobody knows, what the other networks' take."""
        if self._preparing is None:
            return 0.0
        own = self._preparing.predict(way.stages[0])
        others = [self._preparing.predict(first.stages[0]) for first in self._first_ways]
        return max(known or 0.0 for known in others) if own is None else own

    def _begin(self, way: Way, reason: str, confidence: Optional[float]) -> Decision:
        stage = way.stages[0]
        return Decision(True, stage, self._model.predict(stage, confidence), reason)

    def _fits(self, now: float, deadline: float, stages: Sequence[str], confidence: Optional[float]) -> bool:
        for stage in stages:
            duration = self._model.predict(stage, confidence)
            if duration is None:
                return False
            now += duration
        return now <= deadline
