"""What every family asks of its options, which come from a command line or a file: their names are known, their values of a kind."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.errors import OptionError, meant


def positive(value: object) -> bool:
    """Whether it is a whole number above 0; true is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def no_option(network: str, name: str, known: Iterable[str]) -> OptionError:
    """The error for an option that the network does not have: one that was perhaps meant, and all that there are."""
    names = list(known)
    return OptionError(f"{network} has no option {name!r}{meant(name, names)}; it has {', '.join(names)}")
