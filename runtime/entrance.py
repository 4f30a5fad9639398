"""How a frame's inputs reach a network: prepared once where all networks see the same, and when one begins where it sees its own."""

import threading
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional

import numpy as np

from edgekit.bundle import Manifest
from edgekit.errors import InputError
from edgekit.runtime.backends import Backend, Frame, StageCancelled
from edgekit.runtime.preprocess import Placement, Prepared, Preprocessor


class Entered(NamedTuple):
    """A frame that can be run, where its pictures lie in its tensors, and how its buffers are given back."""

    frame: Frame
    placement: Optional[Placement]
    release: Callable[[], None]


class Entrance:
    """Starts the frames of one session."""

    def __init__(self, manifest: Manifest, backend: Backend, allow_nonfinite: bool = False) -> None:
        self._backend = backend
        self._shared = Preprocessor(manifest.inputs, allow_nonfinite, backend.buffer)
        self._own = {
            network.name: Preprocessor(network.inputs, allow_nonfinite, backend.buffer)
            for network in manifest.networks
            if network.inputs
        }
        self._network_of = {stage: network.name for network in manifest.networks for stage in network.stages}

    def enter(self, inputs: Mapping[str, object], copy: bool = False) -> Entered:
        """Prepare ``inputs``; see `edgekit.runtime.preprocess.Preprocessor.prepare`.

        Raises:
            InputError: they cannot be used.
        """
        if self._own:
            inputs = {name: _picture(name, value, copy) for name, value in inputs.items()}
        prepared = self._shared.prepare(inputs, copy)
        if not self._network_of:
            frame = self._backend.start(prepared.tensors)
            return Entered(frame, prepared.placement, lambda: self._shared.release(prepared))
        made: List[Callable[[], None]] = [lambda: self._shared.release(prepared)]

        def start(network: str) -> Frame:
            own = self._own.get(network)
            if own is None:
                return self._backend.start(prepared.tensors)
            theirs = own.prepare(inputs)
            made.append(lambda: own.release(theirs))
            return self._backend.start(theirs.tensors)

        def release() -> None:
            for give_back in made:
                give_back()

        return Entered(NetworksFrame(self._network_of, start), prepared.placement, release)

    def prepare(self, network: Optional[str], tensors: Mapping[str, np.ndarray]) -> Prepared:
        """The inputs of one network, such as its golden ones; by default of the only one."""
        return self._own.get(network or "", self._shared).prepare(tensors)


class NetworksFrame(Frame):
    """One frame on several networks, each of which has tensors of its own; they run one after the other."""

    def __init__(self, network_of: Mapping[str, str], start: Callable[[str], Frame]) -> None:
        self._network_of = network_of
        self._start = start
        self._frames: Dict[str, Frame] = {}
        self._current: Optional[Frame] = None
        self._guard = threading.Lock()
        self._cancelled = False

    def run(self, stage: str) -> None:
        """See `Frame.run`; a network's first stage also prepares the network's inputs, where they are its own."""
        network = self._network_of[stage]
        if network not in self._frames:
            frame = self._start(network)
            with self._guard:
                if self._cancelled:
                    frame.end()
                    raise StageCancelled(f"{stage} was cancelled before it began")
                self._frames[network] = frame
        self._current = self._frames[network]
        self._current.run(stage)

    def read(self, name: str) -> np.ndarray:
        """See `Frame.read`: a tensor of the network that ran last."""
        assert self._current is not None
        return self._current.read(name)

    def cancel(self) -> None:
        """See `Frame.cancel`."""
        with self._guard:
            self._cancelled = True
            frames = list(self._frames.values())
        for frame in frames:
            frame.cancel()

    def end(self) -> None:
        """See `Frame.end`."""
        for frame in self._frames.values():
            frame.end()


def _picture(name: str, value: object, copy: bool) -> object:
    """The value, if every network can see it in its own size."""
    if getattr(value, "dtype", None) != np.uint8:
        raise InputError(
            f"{name}: the networks of this bundle see pictures in different sizes; give a uint8 picture (H, W, 3), or load"
            " one of them by its name, as in load(path, network=...)"
        )
    return np.array(value) if copy else value
