"""A robot with two networks on one virtual clock, whose stages take the times that a test tells."""

from typing import Callable, Dict, List, Mapping

from edgekit.bundle import Bundle
from edgekit.runtime import Arbiter, Share
from edgekit.runtime.policies import Policy
from edgekit.runtime.session import Session
from tests.runtime.virtual import FakeBackend, JumpingClock

Durations = Mapping[str, float]
DEPTH = {"stage1": 10.0, "stage2": 10.0, "stage3": 10.0, "stage4": 10.0}  # stage3 has no exit
SIGNS = {"stage1": 4.0, "stage2": 30.0}


class Robot:
    """A stereo network and a classifier on one virtual clock, whose later frames may take other times than the first."""

    def __init__(self, stereo: Bundle, classifier: Bundle) -> None:
        self.clock = JumpingClock()
        self.opened: List[Session] = []
        self.bundles = {"depth": stereo, "signs": classifier}
        self.later: Dict[str, Durations] = {}
        self.backends: Dict[str, FakeBackend] = {}
        self.arbiters: List[Arbiter] = []

    def arbiter(
        self,
        durations: Mapping[str, Durations] = {"depth": DEPTH, "signs": SIGNS},
        policies: Mapping[str, List[Policy]] = {},
        **terms: Mapping[str, object],
    ) -> Arbiter:
        shares = {}
        for name, bundle in self.bundles.items():
            self.backends[name] = FakeBackend(
                self.clock, self._duration(name, durations[name]), cancel_ms=3.0
            )
            session = Session(
                bundle, self.backends[name], clock=self.clock, warmup=3, policies=policies.get(name, ())
            )
            self.backends[name].begun.clear()
            self.opened.append(session)
            shares[name] = Share(session, **terms.get(name, {}))  # type: ignore[arg-type]
        arbiter = Arbiter(shares)
        self.arbiters.append(arbiter)
        arbiter.infer(**self.inputs())  # its thread waits from now on, so that time can jump
        for backend in self.backends.values():
            backend.begun.clear()
        return arbiter

    def inputs(self) -> Dict[str, Mapping[str, object]]:
        return {name: session.golden()[0] for name, session in zip(self.bundles, self.opened)}

    def _duration(self, name: str, usual: Durations) -> Callable[[str, int], float]:
        return lambda stage, frame: (
            self.later.get(name, usual).get(stage, usual[stage]) if frame > 4 else usual[stage]
        )

    def close(self) -> None:
        self.clock.leave()
        for arbiter in self.arbiters:
            arbiter.close()
        for session in self.opened:
            session.close()
