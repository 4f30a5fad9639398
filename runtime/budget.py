"""What a caller may ask for: budgets (from now on), deadlines (instants), what to do when a stage overruns, how to begin."""

import math
from typing import Optional

from edgekit.errors import OptionError
from edgekit.runtime.clock import Clock

OVERRUN = ("return", "finish")
# A deadline farther away than this was taken from another clock, or is in seconds.
AN_HOUR, A_MINUTE = 3_600_000.0, 60_000.0


def check_budget(budget_ms: Optional[float]) -> Optional[float]:
    """A budget in ms; None, or an infinite one, is no budget.

    Raises:
        OptionError: it is no number, NaN, 0 or negative.
    """
    if budget_ms is None:
        return None
    budget = number(budget_ms)
    if not budget > 0:
        if getattr(budget_ms, "ndim", 0):  # its text would fill pages
            raise OptionError(
                "an array was given as budget_ms: name the inputs, as in infer(left=left, right=right)"
            )
        raise OptionError(
            f"budget_ms={budget_ms!r}: must be a positive number of milliseconds, or None for no budget"
        )
    return None if math.isinf(budget) else budget


def check_timeout(timeout_ms: Optional[float]) -> Optional[float]:
    """A time to wait, in ms; None is as long as it takes, and what is negative or 0 is no time.

    Raises:
        OptionError: it is no number, or NaN.
    """
    if timeout_ms is None:
        return None
    timeout = number(timeout_ms)
    if math.isnan(timeout):
        raise OptionError(f"timeout_ms={timeout_ms!r}: must be a number of milliseconds, or None")
    return None if timeout == math.inf else timeout


def check_deadline(deadline: float, now: float) -> float:
    """What is left until ``deadline``, in ms; negative if it has passed.

    Raises:
        OptionError: it is no number, NaN or infinite, or so far away that it must be of another clock.
    """
    left = number(deadline) - now
    if not math.isfinite(left):
        raise OptionError(
            f"deadline={deadline!r}: must be an instant in milliseconds, session.clock.now() + ms"
        )
    # Soon after a device has started, an instant in seconds is less than an hour before now.
    in_seconds = left < -A_MINUTE and abs(left + now - now / 1000) < A_MINUTE
    if abs(left) > AN_HOUR or in_seconds:
        raise OptionError(
            f"deadline={deadline!r} is {left / 1000:.0f} s from now on the session's clock: it must be an instant of that "
            "very clock, in milliseconds: session.clock.now() + ms"
        )
    return left


def check_overrun(overrun: str) -> None:
    """Refuse what is none of `OVERRUN`.

    Raises:
        OptionError: what there is.
    """
    if getattr(overrun, "ndim", 0):
        raise OptionError(
            "an array was given as overrun: name the inputs, as in infer(left=left, right=right)"
        )
    if overrun not in OVERRUN:
        raise OptionError(f"overrun={overrun!r}: must be one of {', '.join(OVERRUN)}")


def check_opening(warmup: int, confidence: Optional[float], clock: Optional[Clock]) -> None:
    """Refuse a number of warm-up frames, a confidence or a clock that a session cannot be opened with.

    Raises:
        OptionError: what it must be.
    """
    if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
        raise OptionError(f"warmup={warmup!r}: must be a whole number of frames, 0 or more")
    if clock is not None and not isinstance(clock, Clock):
        raise OptionError(
            f"clock={clock!r}: must be an edgekit.runtime.clock.Clock, or left out for the system's"
        )
    check_sure(confidence)


def check_sure(confidence: Optional[float]) -> Optional[float]:
    """A confidence: the share of runs in which a stage that is begun should fit; None is whatever is usual.

    Raises:
        OptionError: what it must be.
    """
    if confidence is not None and not 0 < number(confidence) < 1:
        raise OptionError(f"confidence={confidence!r}: must be above 0 and less than 1, such as 0.99")
    return confidence


def check_callback(on_exit: object) -> None:
    """Refuse what cannot be called.

    Raises:
        OptionError: what it must be.
    """
    if on_exit is not None and not callable(on_exit):
        raise OptionError(f"on_exit={on_exit!r}: must be a function that takes a Result, or None")


def number(value: object) -> float:
    """What a user gave as a number; NaN where it is none, as a truth value or a text is not."""
    if isinstance(value, (bool, str, bytes)):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
