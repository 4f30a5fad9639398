"""The errors a user can meet, so that every room raises from one short list."""

from typing import Iterable


class EdgekitError(Exception):
    """Something edgekit was asked to do cannot be done; the message says what, to which file or option, and what to do."""


class OptionError(EdgekitError, ValueError):
    """An option, a configuration value or an argument is wrong or contradicts another one."""


class CheckpointError(EdgekitError):
    """A checkpoint file is damaged, unsafe to load or of another network."""


class InputError(EdgekitError, ValueError):
    """A picture or an array given to a network cannot be used."""


class BundleError(EdgekitError):
    """A bundle is damaged, incomplete, of a newer schema, or cannot be written."""


class NewerBundleError(BundleError):
    """A bundle of a newer schema: nothing is wrong with it, another edgekit reads it."""


class ExportError(EdgekitError):
    """A network cannot be turned into graphs that the target takes."""


class ParityError(ExportError):
    """An exported stage does not compute what its reference module computes."""


class BackendError(EdgekitError):
    """A backend is missing, refuses a graph, or failed while it ran one."""


def meant(name: str, known: Iterable[str]) -> str:
    """`` (did you mean ...?)`` for a mistyped name, or nothing."""
    from difflib import get_close_matches  # 5 ms that only a mistake should cost

    close = get_close_matches(str(name), list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""
