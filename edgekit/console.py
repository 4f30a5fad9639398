"""Standard output and error that take every character, and may be closed: a robot's are often those of a bare service or of ssh."""

import codecs
import io
import os
import sys
from typing import Optional, TextIO


def take_everything() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` able to print any text, also file names that are not the locale's; once is enough."""
    sys.stdout = _taking_everything(sys.stdout)
    sys.stderr = _taking_everything(sys.stderr)


def _taking_everything(stream: Optional[TextIO]) -> TextIO:
    if stream is None:  # closed before Python began
        return open(os.devnull, "w", encoding="utf-8", errors="surrogateescape")
    if type(stream) is not io.TextIOWrapper:  # somebody listens inside this process
        return stream
    known = codecs.lookup(stream.encoding).name
    # Without a locale, Python before 3.7 knows ASCII alone; the terminal at the other end takes UTF-8 (as PEP 540 has it).
    encoding, errors = (
        ("utf-8", "surrogateescape") if known in ("ascii", "utf-8") else (known, "backslashreplace")
    )
    if known == encoding and stream.errors in (errors, "backslashreplace"):
        return stream
    stream.flush()
    # The old one stays open beside it: ``sys.__stdout__`` or whoever put it there holds it.
    unbuffered = getattr(stream, "write_through", False)  # which Python before 3.7 does not tell
    return io.TextIOWrapper(
        stream.buffer, encoding, errors, line_buffering=stream.line_buffering, write_through=unbuffered
    )
