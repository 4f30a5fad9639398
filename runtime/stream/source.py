"""What a stream asks of whatever frames come from: open, read, close."""

from abc import ABC, abstractmethod
from typing import Mapping, NamedTuple, Optional

import numpy as np

from edgekit.errors import InputError


class SourceLost(InputError):
    """A source that had worked gives nothing any more; it may be opened again."""


class Seen(NamedTuple):
    """What was read once.

    Attributes:
        inputs: uint8 pictures (H, W, 3) RGB by the name of the network's input; not written to afterwards.
        stamp: when it was seen, in ms on the stream's clock; None for now.
        tag: see `edgekit.runtime.stream.frame.Frame`.
    """

    inputs: Mapping[str, np.ndarray]
    stamp: Optional[float] = None
    tag: object = None


class Source(ABC):
    """Frames, one after the other.

    Attributes:
        live: they come when they come, as from a camera, and wait for nobody; else they are there to be read at any pace.
        rate: frames a second that it is meant to be seen at; None if there is no such rate, or it is not known.
        name: what to call it in messages.
    """

    live: bool = False
    rate: Optional[float] = None
    name: str = "the source"

    @abstractmethod
    def open(self) -> None:
        """Make it ready to be read from its beginning; also after it was lost.

        Raises:
            InputError: it cannot be read; the message says what to do.
        """

    @abstractmethod
    def read(self) -> Optional[Seen]:
        """Wait for the next one; None at the end.

        Raises:
            SourceLost: there is nothing more to come unless it is opened again.
            InputError: this one cannot be used; the next one may be.
        """

    def close(self) -> None:  # noqa: B027
        """Give back what `open` took; may be called at any time, and twice."""
