"""Figures that were set on one machine, held on another: seconds there, from seconds here and how slowly Python runs here just now.

Clean for Python 3.6.
"""

import sys
import time
from typing import Dict, Tuple

# Seconds of `_chore` on the undisturbed machine of the documented figures, by version of Python
CHORE_SECONDS: Dict[Tuple[int, int], float] = {(3, 6): 50e-6, (3, 8): 38e-6}
CHORE_SECONDS_NEWER = 24e-6


class _Thing:
    __slots__ = ("value",)


def _chore() -> None:
    """What deciding is made of: attributes, tuples, dictionaries, calls."""
    thing, found = _Thing(), {}
    for number in range(300):
        thing.value = (number, float(number))
        found[number & 15] = thing.value
        len(found)


def documented_seconds(seconds: float) -> float:
    """What took ``seconds`` a moment ago, on the machine of the documented figures; a quicker machine gets no credit."""
    begun = time.perf_counter()
    _chore()
    here = time.perf_counter() - begun
    return seconds / max(1.0, here / CHORE_SECONDS.get(sys.version_info[:2], CHORE_SECONDS_NEWER))
