"""What a stream can be asked for: whatever cannot be is refused in a sentence before anything is opened."""

import math
from typing import Mapping, Optional, Sequence

from edgekit.errors import InputError, OptionError
from edgekit.runtime.budget import number
from edgekit.runtime.stream.answering import Answerer
from edgekit.runtime.stream.source import Source


def check_parts(answerer: object, source: object) -> None:
    """Refuse what answers nothing, and what gives no frames.

    Raises:
        OptionError: what it must be.
    """
    if not isinstance(answerer, Answerer):
        raise OptionError(
            f"a stream is answered by a session, as from edgekit.load(path), or by an Answerer, not by {answerer!r:.80}"
        )
    if source is not None and not isinstance(source, Source):
        raise OptionError(
            f"source={source!r:.80}: give one as from source_of([path], ['left', 'right']), or None to push frames"
        )


def check_rate(rate: Optional[float]) -> None:
    """Refuse what is no rate.

    Raises:
        OptionError: what it must be.
    """
    if rate is not None and not 0 < number(rate) < math.inf:
        raise OptionError(f"rate={rate!r}: give the frames a second, above 0")


def check_frames(frames: Optional[int]) -> None:
    """Refuse what is no number of frames.

    Raises:
        OptionError: what it must be.
    """
    if frames is not None and not _whole(frames):
        raise OptionError(f"frames={frames!r}: give a whole number of at least 1, or None for all that come")


def check_seconds(seconds: Optional[float]) -> None:
    """Refuse what is no time to run.

    Raises:
        OptionError: what it must be.
    """
    if seconds is not None and not number(seconds) > 0:
        raise OptionError(f"seconds={seconds!r}: give a number above 0, or None to run to the end")


def check_subscriber(name: object, called: object, keep: int, stages: Optional[Sequence[str]]) -> None:
    """Refuse what cannot be called, keeps nothing, or wants no exit at all.

    Raises:
        OptionError: what it must be.
    """
    if not callable(called):
        raise OptionError(
            f"subscriber {name}: {called!r:.80} cannot be called; give a function that takes an Answer"
        )
    if not _whole(keep):
        raise OptionError(f"keep={keep!r}: at least one answer must be able to wait")
    if stages is not None and len(stages) == 0:
        raise OptionError(f"subscriber {name} wants no stage's exit; leave stages out to have all of them")


def check_frame(inputs: object, stamp: Optional[float]) -> None:
    """Refuse what is no frame.

    Raises:
        InputError: the inputs are not by name, or the stamp is no instant.
    """
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"give a frame's inputs by name, {{'left': ..., 'right': ...}}, not {type(inputs).__name__}"
        )
    if stamp is not None and not math.isfinite(number(stamp)):
        raise InputError(f"stamp={stamp!r}: give an instant in ms on stream.clock, or None for now")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
