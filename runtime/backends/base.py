"""What the runtime asks of a backend: load a stage, start a frame, close; and of a frame: run a stage, read, cancel."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Mapping, Optional, Type

import numpy as np

from edgekit.bundle import StageSpec
from edgekit.errors import BackendError


class StageCancelled(BackendError):
    """A stage was stopped by `Frame.cancel` before it had finished, or not started because of it."""


class Frame(ABC):
    """One frame on its way through the stages: its inputs, and what the stages hand to each other.

    A frame owns its tensors, so that frames can take turns on one backend and a result outlives the next frame.
    """

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


class Backend(ABC):
    """Executes the stages of one bundle.

    Attributes:
        name: ``onnxruntime``, ...
        version: of the library behind it.
        settings: what it runs with, for reports: JSON values.
    """

    name: str
    version: str
    settings: Mapping[str, object]

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
