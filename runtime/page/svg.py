"""Drawings as SVG text, with numpy alone: elements, scales with round ticks, and the frame that every chart shares."""

import math
from html import escape
from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

WIDTH, HEIGHT = 400.0, 250.0  # of a chart, in px at its natural size; CSS scales it
LETTER = 7.0  # of a label, on average
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 44.0  # margins for what is written around it
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Point = Tuple[float, float]


class Scale(NamedTuple):
    """Values from ``low`` to ``high`` on px from ``start`` to ``end``; ``log`` spaces equal ratios equally."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, in px; values beyond the ends lie on them."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 6) -> List[float]:
        """At most about ``most`` round values within the range."""
        return _log_ticks(self.low, self.high, most) if self.log else _even_ticks(self.low, self.high, most)


class Axis(NamedTuple):
    """One axis of a chart: its label, its range, and whether it is logarithmic."""

    label: str
    low: float
    high: float
    log: bool = False


def element(name: str, text: Optional[str] = None, hint: Optional[str] = None, **attributes: object) -> str:
    """One SVG element; ``hint`` appears while a pointer rests on it. ``class_`` is ``class``, ``_`` in names is ``-``."""
    written = _written(attributes)
    inside = ("" if hint is None else f"<title>{escape(hint)}</title>") + (
        "" if text is None else escape(text)
    )
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def drawing(parts: Sequence[str], label: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """A whole SVG picture that says in ``label`` what it shows, for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {_number(width)} {_number(height)}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def path(points: Sequence[Point], closed: bool = False) -> str:
    """The ``d`` of a line through the points."""
    steps = [f"{'L' if k else 'M'}{x:.1f} {y:.1f}" for k, (x, y) in enumerate(points)]
    return " ".join(steps) + (" Z" if closed else "")


def frame(
    across: Axis, up: Axis, show: Callable[[float], str] = lambda value: short(value)
) -> Tuple[Scale, Scale, List[str]]:
    """The two scales of a chart of the usual size, and its grid, ticks and labels."""
    x = Scale(across.low, across.high, LEFT, WIDTH - RIGHT, across.log)
    y = Scale(up.low, up.high, HEIGHT - BOTTOM, TOP, up.log)
    parts = []
    for value in y.ticks(5):
        at = y.at(value)
        parts.append(element("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        parts.append(element("text", show(value), x=x.start - 6, y=at + 4, class_="tick end"))
    parts += ground(x, across.label, y.start)
    middle, tall = (y.start + y.end) / 2, y.start - y.end
    long = len(up.label) * LETTER > tall  # it would run out of the picture
    parts.append(
        element(
            "text",
            up.label,
            x=13,
            y=middle,
            class_="label middle",
            transform=f"rotate(-90 13 {_number(middle)})",
            textLength=tall if long else None,
            lengthAdjust="spacingAndGlyphs" if long else None,
        )
    )
    return x, y, parts


def ground(x: Scale, label: str, bottom: float) -> List[str]:
    """The line at the bottom, with its ticks and its label."""
    parts = [element("line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="axis")]
    for value in x.ticks():
        at = x.at(value)
        parts.append(element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(element("text", short(value), x=at, y=bottom + 17, class_="tick middle"))
    parts.append(element("text", label, x=(x.start + x.end) / 2, y=bottom + 35, class_="label middle"))
    return parts


def short(value: float) -> str:
    """A number in as few characters as tell it: 0.25, 12, 1.2k."""
    if abs(value) >= 10000:
        return f"{value / 1000:.3g}k"
    return f"{value:.4g}"


def _written(attributes: Mapping[str, object]) -> str:
    return "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _even_ticks(low: float, high: float, most: int) -> List[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * one for one in STEPS if power * one >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> List[float]:
    """Of 1, 2, 5 times powers of ten those within the range; fewer, evenly picked, if there are too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [lead * 10.0**power for power in powers for lead in (1, 2, 5)]
    found = [value for value in found if low * 0.999 <= value <= high * 1.001]
    if len(found) < 4:
        return _even_ticks(low, high, most)
    return found[:: -(-len(found) // most)]
