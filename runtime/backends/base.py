"""What the runtime asks of a backend: load a stage, start a frame, close; and of a frame: run a stage, read, cancel."""

import os
from abc import ABC, abstractmethod
from typing import Dict, Iterable, Mapping, Optional, Tuple, TypeVar

import numpy as np

from edgekit.bundle import Bundle, InputSpec, StageSpec
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.closing import Closing
from edgekit.runtime.device.fingerprint import Fingerprint

Stage = TypeVar("Stage")


class StageCancelled(BackendError):
    """A stage was stopped by `Frame.cancel` before it had finished, or not started because of it."""


class Loaded(Dict[str, Stage]):
    """The stages that a backend has loaded, by name.

    Raises:
        BackendError: the one that is asked for is not loaded, or the backend was closed.
    """

    def __missing__(self, name: str) -> Stage:
        raise BackendError(f"{name} is not loaded; was the session closed?")


def check_tensors(stage: StageSpec, reads: Iterable[str], writes: Iterable[str], source: str) -> None:
    """That the graph or engine ``source`` reads and writes what the manifest says of ``stage``.

    Raises:
        BackendError: it does not.
    """
    for what, found, wanted in (
        ("reads", list(reads), list(stage.inputs)),
        ("writes", list(writes), [spec.name for spec in stage.outputs]),
    ):
        if sorted(found) != sorted(wanted):
            raise BackendError(
                f"{source}: {stage.name} {what} {', '.join(found)}, the manifest says {', '.join(wanted)}"
            )


def check_threads(threads: Optional[int]) -> None:
    """That a number of threads is one, where it is given.

    Raises:
        OptionError: it is no positive number.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads={threads!r}: must be a positive whole number")


class Frame(ABC):
    """One frame on its way through the stages: its inputs, and what the stages hand to each other.

    A frame owns its tensors, so that frames can take turns on one backend and a result outlives the next frame.
    """

    def prepare(self, stage: str) -> bool:
        """Make ready what ``stage`` reads, where that waits until a network has been chosen; whether there was anything to do.

        Raises:
            StageCancelled: it was cancelled.
        """
        return False

    @abstractmethod
    def run(self, stage: str) -> None:
        """Run a loaded stage to its end; what it reads must have been given or written before. One stage at a time.

        Raises:
            StageCancelled: it was cancelled.
            BackendError: it failed; the frame can still be read, and the next frame runs.
        """

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """A tensor of this frame as an array that nothing overwrites; valid as long as it is held."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop this frame's stage if one is running, as soon as the backend can, and run no more of them.

        Called from another thread than `run`.
        """

    def end(self) -> None:  # noqa: B027
        """Nobody runs or reads this frame any more: what it holds may serve the next one."""


class Backend(Closing):
    """Executes the stages of one bundle.

    Attributes:
        name: ``onnxruntime``, ...
        version: of the library behind it.
        settings: what it runs with, for reports: JSON values.
        cancels: a stage that runs can be stopped; where it cannot, the next frame waits for it.
    """

    name: str
    version: str
    settings: Mapping[str, object]
    cancels: bool = True

    def read(
        self, bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str
    ) -> Tuple[bytes, str]:
        """What `load` needs for this graph of ``stage`` on the device of ``fingerprint``, and what to call it in errors.

        Raises:
            BundleError: it is missing or damaged.
            BackendError: it was not built for this device.
        """
        graph = next(one.graph for one in stage.variants if one.name == variant)
        return bundle.read_graph(graph), os.path.join(bundle.path, *graph.split("/"))

    def input_view(self, spec: InputSpec) -> np.ndarray:
        """A zeroed array for a network input that stages read with as few copies as this device allows.

        Raises:
            BackendError: there is no memory for it.
        """
        return np.zeros(spec.shape, spec.dtype)

    def buffer(self, spec: InputSpec) -> np.ndarray:
        """An array for a network input that the processor reads and writes as fast as any."""
        return np.empty(spec.shape, spec.dtype)

    def let_move(self) -> None:
        """Keep no thread of a stage that is loaded from now on to one processor.

        In real time, threads that a stage waits for would never run again where they are kept to the processor of a thread above
        them which waits busily, such as a controller's that runs the stage itself; who may move goes to another one.
        """

    def prepare(self, bundle: Bundle) -> None:
        """Make what `read` would miss on this device, which may take minutes; most backends need nothing.

        Raises:
            BackendError: it cannot be made.
        """

    @abstractmethod
    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        """Make ``stage`` ready to run. ``source`` names the graph in errors.

        Raises:
            BackendError: the graph is refused, or is not what the manifest says.
        """

    @abstractmethod
    def start(self, inputs: Mapping[str, np.ndarray]) -> Frame:
        """A frame with these network inputs, which must stay unchanged as long as stages read them."""
