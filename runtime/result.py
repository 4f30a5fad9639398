"""The answer to one frame, and everything about how it came to be."""

from typing import Mapping, NamedTuple, Optional, Tuple

import numpy as np

from edgekit.runtime.scheduler import Decision


class Result(NamedTuple):
    """What a frame's stages reached.

    Attributes:
        output: the best exit as an answer: ``stereo``: disparity (H, W) float32 px of the picture given;
            ``classification``: logits (classes,). None if no exit was reached.
        exits: the raw output of every exit that was reached, by stage, as the network gives it (NCHW). Nothing overwrites
            it; it may share memory with ``output``.
        stage: the stage whose exit ``output`` is; None if no exit was reached.
        elapsed_ms: from the call to the answer.
        slack_ms: what was left of the budget, negative if it was exceeded; None without a budget.
        missed: whether the answer came after the deadline, or there is none.
        reason: why no more stages ran: ``final`` (all have), ``budget`` (the next would have been late), ``cancelled``,
            ``replaced`` (by a newer frame, before this one began), ``error`` (a stage failed; see ``error``), what a policy
            said (``confident``, ``fixed``, ...), or ``partial`` (more are to come).
        stage_ms: measured duration of every stage that ran.
        predicted_ms: what the scheduler expected each of them, and the one it decided against, to take at most; None where
            nothing had been measured.
        preprocess_ms: from the call until the inputs were ready, waiting for another frame included; and what it took to make
            those ready that wait until a network is chosen.
        budget_ms: as given.
        started: the instant of the call, in ms on the session's clock.
        begun_ms: when every stage began, counted from ``started``.
        error: what the failed stage said.
        decisions: every one, with when it was made, counted from ``started``: why stages ran, and why the next did not.
        reserve_ms: what of the budget was kept for making the answer and waking the caller.
        cut: the stage that was cancelled or failed, when it began, counted from ``started``, and the ms it ran; None if none
            was, or if it still ran when this result was made.
        age_ms: how long before this result the frame was given that ``output`` belongs to, where that is an earlier one (see
            ``reuse`` of `Session.infer`); else None.
        network: the network that ``stage`` is of, where the bundle holds several; else None.
    """

    output: Optional[np.ndarray]
    exits: Mapping[str, np.ndarray]
    stage: Optional[str]
    elapsed_ms: float
    slack_ms: Optional[float]
    missed: bool
    reason: str
    stage_ms: Mapping[str, float]
    predicted_ms: Mapping[str, Optional[float]]
    preprocess_ms: float
    budget_ms: Optional[float]
    started: float
    begun_ms: Mapping[str, float]
    error: Optional[str] = None
    decisions: Tuple[Tuple[float, Decision], ...] = ()
    reserve_ms: float = 0.0
    cut: Optional[Tuple[str, float, float]] = None
    age_ms: Optional[float] = None
    network: Optional[str] = None

    def __repr__(self) -> str:
        """What a caller looks for first; the arrays by their shapes, for their values would fill pages."""
        answer = "None" if self.output is None else f"{self.output.dtype} {self.output.shape}"
        slack = "None" if self.slack_ms is None else f"{self.slack_ms:.2f}"
        said = f"stage={self.stage!r}, reason={self.reason!r}, missed={self.missed}, elapsed_ms={self.elapsed_ms:.2f}"
        return f"Result({said}, slack_ms={slack}, output={answer}, exits={list(self.exits)})"
