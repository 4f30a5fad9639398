"""What the runtime asks of a backend: load a stage, start a frame, close; and of a frame: run a stage, read, cancel."""

import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Mapping, Optional, Tuple, Type

import numpy as np

from edgekit.bundle import Bundle, InputSpec, StageSpec
from edgekit.errors import BackendError
from edgekit.runtime.fingerprint import Fingerprint


class StageCancelled(BackendError):
    """A stage was stopped by `Frame.cancel` before it had finished, or not started because of it."""


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


class Backend(ABC):
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

    def prepare(self, bundle: Bundle) -> None:  # noqa: B027
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

    @abstractmethod
    def close(self) -> None:
        """Give back everything; may be called twice."""

    def __enter__(self) -> "Backend":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
