"""Several networks on one stream: each frame's budget is shared by an arbiter, and every network's answers are handed on."""

from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from edgekit.errors import EdgekitError, InputError, OptionError, meant
from edgekit.runtime.arbiter import Arbiter
from edgekit.runtime.result import Result
from edgekit.runtime.stream.answering import Answerer, Overrun, Tell, against

# What a network for one picture sees of a stereo camera.
INSTEAD = {"image": "left"}

# For every network, which of the frame's inputs each of its own inputs is fed with.
Feeds = Mapping[str, Mapping[str, str]]


class ArbiterAnswerer(Answerer):
    """Answers every frame with all networks of an arbiter, which stays the caller's: ``Stream(ArbiterAnswerer(arbiter), source)``.

    Args:
        arbiter: and its networks.
        feeds: ``{"signs": {"image": "right"}}``: by network, which of the frame's inputs its own inputs get. An input that is
            not named gets the frame's of its own name, and an ``image`` without one the ``left`` picture.

    Raises:
        OptionError: there is no such network, or it has no such input.
    """

    exits: Mapping[str, Tuple[str, ...]]

    def __init__(self, arbiter: Arbiter, feeds: Feeds = {}) -> None:  # noqa: B006  read only
        self.clock = arbiter.clock
        self.exits = {one.name: tuple(way.exit for way in one.ways) for one in arbiter.members}
        self._arbiter = arbiter
        self._feeds = {
            one.name: _fed(one.name, [spec.name for spec in one.manifest.inputs], feeds.get(one.name, {}))
            for one in arbiter.members
        }
        for name in feeds:
            if name not in self.exits:
                raise OptionError(
                    f"feeds: there is no network {name!r}{meant(name, list(self.exits))}; there are {', '.join(self.exits)}"
                )
        self._overrun = Overrun()
        self._stopped = False

    def answer(
        self, inputs: Mapping[str, np.ndarray], deadline: Optional[float], tell: Tell
    ) -> Mapping[str, Result]:
        """See `Answerer.answer`; how every network ended."""
        if self._stopped:
            raise EdgekitError("the stream was stopped")
        given = {name: self._given(name, inputs) for name in self.exits}
        until = None if deadline is None else self._overrun.earlier(deadline, self.clock.now())
        told: Dict[str, Result] = {}

        def on_exit(name: str, result: Result) -> None:
            last = result.stage == self.exits[name][-1] and result.reason == "partial"
            told[name] = against(result._replace(reason="final") if last else result, deadline)
            tell(told[name], name)
            if self._stopped:  # just before the frame was the arbiter's
                self._arbiter.cancel()

        shared = self._arbiter.answer_by(until, on_exit, **given)
        if until is not None and any(one.cut is not None for one in shared.results.values()):
            self._overrun.add(self.clock.now() - until)
        if shared.reason == "error":
            raise EdgekitError("; ".join(f"{name}: {one.error}" for name, one in shared.results.items()))
        return {name: _ended(result, told.get(name), deadline) for name, result in shared.results.items()}

    def stop(self) -> None:
        """See `Answerer.stop`."""
        self._stopped = True
        self._arbiter.cancel()

    def _given(self, network: str, inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        found: Dict[str, np.ndarray] = {}
        for own, wanted in self._feeds[network].items():
            name = INSTEAD.get(wanted, wanted) if wanted not in inputs else wanted
            if name not in inputs:
                raise InputError(
                    f"{network} is fed with {wanted!r}, and the frame has {', '.join(inputs) or 'nothing'}: say by feeds="
                    " which of these it is to see"
                )
            found[own] = inputs[name]
        return found


def _fed(network: str, inputs: List[str], given: Mapping[str, str]) -> Dict[str, str]:
    if not isinstance(given, Mapping):
        raise OptionError(
            f"feeds: {network}={given!r:.80}: say which of its inputs sees what, as in {{'image': 'right'}}"
        )
    for name in given:
        if name not in inputs:
            raise OptionError(
                f"feeds: {name!r} is no input of {network}{meant(name, inputs)}; it takes {', '.join(inputs)}"
            )
    return {name: given.get(name, name) for name in inputs}


def _ended(result: Result, told: Optional[Result], deadline: Optional[float]) -> Result:
    """How a network ended; what was told of it was there when it was told, and not only when the frame was over."""
    if told is None or told.stage != result.stage:
        return against(result, deadline)
    return told._replace(reason=result.reason, error=result.error)
