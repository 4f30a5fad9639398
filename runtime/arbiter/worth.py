"""What every exit of a network is worth to the one who asks, so that exits of different networks can be weighed."""

import math
from typing import Dict, Iterable, Mapping, Optional, Sequence, Tuple, Union

from edgekit.bundle import Manifest
from edgekit.errors import OptionError, meant
from edgekit.runtime.alternatives import ladder

# What every exit closes of the distance to a perfect answer, where no accuracy is known: each gains half of what the one before
# it gained, as diminishing returns go.
CLOSED = 0.5

Utilities = Union[Mapping[str, float], Sequence[float], None]


def utilities_of(manifest: Manifest, given: Utilities = None) -> Dict[str, float]:
    """The utility of every exit by its stage, the worst first; a better exit is never worth less.

    As ``given``; else the exits' measured accuracies, in shares of the best; else 1 for the best and diminishing returns
    before it: of three, 4/7, 6/7 and 1.

    Raises:
        OptionError: ``given`` names no exit, leaves one out, or holds what is no utility.
    """
    exits = [way.exit for way in ladder(manifest)]
    if given is not None:
        return _checked(manifest.name, exits, given)
    accuracy = {name: manifest.exits[name].accuracy for name in exits if name in manifest.exits}
    known = [value for value in (accuracy.get(name) for name in exits) if value is not None]
    if len(known) == len(exits) and max(known) > 0:
        best, so_far, found = max(known), 0.0, {}
        for name, value in zip(exits, known):
            so_far = max(so_far, value / best)
            found[name] = so_far
        return found
    whole = 1 - CLOSED ** len(exits)
    return {name: (1 - CLOSED**number) / whole for number, name in enumerate(exits, 1)}


def check_minimum(manifest: Manifest, minimum: Optional[str]) -> None:
    """Refuse what is no exit.

    Raises:
        OptionError: what there is.
    """
    exits = [way.exit for way in ladder(manifest)]
    if minimum is not None and minimum not in exits:
        raise OptionError(
            f"minimum={minimum!r}: {manifest.name} has no such exit{meant(minimum, exits)}; it has {', '.join(exits)}"
        )


def _checked(
    name: str, exits: Sequence[str], given: Union[Mapping[str, float], Sequence[float]]
) -> Dict[str, float]:
    if isinstance(given, Mapping):
        unknown = [key for key in given if key not in exits]
        if unknown:
            raise OptionError(
                f"utilities: {name} has no exit {unknown[0]!r}{meant(unknown[0], exits)}; it has {', '.join(exits)}"
            )
        values: Tuple[Optional[float], ...] = tuple(given.get(key) for key in exits)
    else:
        several: object = given  # what a user gave, whatever it should be
        values = tuple(given) if isinstance(several, Iterable) else ()
    if len(values) != len(exits) or None in values:
        raise OptionError(f"utilities: give one for each exit of {name}: {', '.join(exits)}")
    found = {key: _number(key, value) for key, value in zip(exits, values)}
    falling = [later for before, later in zip(exits, exits[1:]) if found[later] < found[before]]
    if falling:
        raise OptionError(f"utilities: {falling[0]} of {name} is worth less than an exit before it")
    return found


def _number(key: str, value: object) -> float:
    fine = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fine or not math.isfinite(value) or value < 0:  # type: ignore[arg-type,operator]
        raise OptionError(f"utilities: {key}={value!r} must be a number, 0 or more")
    return float(value)  # type: ignore[arg-type]
