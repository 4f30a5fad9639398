"""What travels through a stream: a frame on its way to the network, and an answer on its way to whoever subscribed."""

from typing import Mapping, NamedTuple, Optional

import numpy as np

from edgekit.runtime.result import Result


class Frame(NamedTuple):
    """What a source saw at one instant; instants are ms on the stream's clock.

    Attributes:
        inputs: uint8 pictures (H, W, 3) RGB, or whatever else the network takes, by the name of its input.
        stamp: when it was seen: ages count from here.
        number: 1, 2, ... in the order of arrival, those that are dropped later included.
        arrived: when the stream got it: budgets count from here.
        tag: whatever its source wants to find again at its answers, such as the header of a message.
    """

    inputs: Mapping[str, np.ndarray]
    stamp: float
    number: int
    arrived: float
    tag: object = None


class Answer(NamedTuple):
    """One exit's answer to a frame, handed on as soon as it was there.

    Attributes:
        frame: what it answers.
        result: everything about how it came to be.
        published: the instant at which it was handed on.
        final: no better answer to this frame will come. Where one was announced and its stage then failed or was cancelled,
            the last answer comes once more, and that one is final.
        network: of several networks that answer the frame side by side, the one whose answer this is; None with one.
    """

    frame: Frame
    result: Result
    published: float
    final: bool
    network: Optional[str] = None

    @property
    def stage(self) -> Optional[str]:
        """The stage whose exit it is."""
        return self.result.stage

    @property
    def output(self) -> Optional[np.ndarray]:
        """Stereo: disparity (H, W) float32 px of the picture given; classification: logits (classes,)."""
        return self.result.output

    @property
    def age_ms(self) -> float:
        """How old what it describes was when it was handed on."""
        return self.published - self.frame.stamp
