"""How a frame's inputs reach a network: prepared once where all networks see the same, and when one begins where it sees its own."""

import threading
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

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
            return self._enter_later(inputs, copy)
        prepared = self._shared.prepare(inputs, copy)
        if self._network_of:
            frame: Frame = NetworksFrame(
                self._network_of, lambda network: self._backend.start(prepared.tensors)
            )
        else:
            frame = self._backend.start(prepared.tensors)
        return Entered(frame, prepared.placement, lambda: self._shared.release(prepared))

    def _enter_later(self, inputs: Mapping[str, object], copy: bool) -> Entered:
        """Look at the inputs now, and convert them when it is known which network is to see them."""
        placement = self._shared.check(inputs)
        pictures = {name: _picture(name, value, copy) for name, value in inputs.items()}
        made: List[Tuple[Preprocessor, Prepared]] = []

        def start(network: str) -> Frame:
            preprocessor = self._own.get(network, self._shared)
            prepared = next((one for known, one in made if known is preprocessor), None)
            if prepared is None:
                prepared = preprocessor.prepare(pictures)
                made.append((preprocessor, prepared))
            return self._backend.start(prepared.tensors)

        def release() -> None:
            for preprocessor, prepared in made:
                preprocessor.release(prepared)

        return Entered(NetworksFrame(self._network_of, start, later=True), placement, release)

    def prepare(self, network: Optional[str], tensors: Mapping[str, np.ndarray]) -> Prepared:
        """The inputs of one network, such as its golden ones; by default of the only one."""
        return self._own.get(network or "", self._shared).prepare(tensors)


class NetworksFrame(Frame):
    """One frame on several networks, each of which has tensors of its own; they run one after the other."""

    def __init__(
        self, network_of: Mapping[str, str], start: Callable[[str], Frame], later: bool = False
    ) -> None:
        """``start`` begins a network; with ``later``, it makes its inputs ready only then."""
        self._network_of = network_of
        self._later = later
        self._start = start
        self._frames: Dict[str, Frame] = {}
        self._current: Optional[Frame] = None
        self._guard = threading.Lock()
        self._cancelled = False

    def prepare(self, stage: str) -> bool:
        """See `Frame.prepare`."""
        network = self._network_of[stage]
        begins = network not in self._frames
        if begins:
            frame = self._start(network)
            with self._guard:
                if self._cancelled:
                    frame.end()
                    raise StageCancelled(f"{stage} was cancelled before it began")
                self._frames[network] = frame
        self._current = self._frames[network]
        return begins and self._later

    def run(self, stage: str) -> None:
        """See `Frame.run`; `prepare` comes before."""
        assert self._current is not None
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
