"""Streams: frames from cameras, recordings and messages, answered within a budget, every exit handed on as soon as it is there."""

from edgekit.runtime.stream.answering import Answerer, SessionAnswerer
from edgekit.runtime.stream.choosing import source_of
from edgekit.runtime.stream.counts import Counts, Spread
from edgekit.runtime.stream.frame import Answer, Frame
from edgekit.runtime.stream.sharing import ArbiterAnswerer
from edgekit.runtime.stream.source import Seen, Source, SourceLost
from edgekit.runtime.stream.stream import Stream
from edgekit.runtime.stream.subscription import Subscription

__all__ = [
    "Answer",
    "Answerer",
    "ArbiterAnswerer",
    "Counts",
    "Frame",
    "Seen",
    "SessionAnswerer",
    "Source",
    "SourceLost",
    "Spread",
    "Stream",
    "Subscription",
    "source_of",
]
