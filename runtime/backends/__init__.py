"""What executes a stage: one file a backend, each imported only when it is used."""

from importlib import import_module
from typing import Optional, Sequence

from edgekit.errors import BackendError, OptionError
from edgekit.runtime.backends.base import Backend, Frame, StageCancelled

__all__ = ["BACKENDS", "Backend", "Frame", "StageCancelled", "open_backend"]

BACKENDS = ("onnxruntime",)


def open_backend(
    name: Optional[str],
    providers: Optional[Sequence[str]] = None,
    threads: Optional[int] = None,
    spin: bool = True,
) -> Backend:
    """The backend called ``name``, or the first of `BACKENDS` that is installed; the options are those of `edgekit.load`.

    Raises:
        OptionError: there is no such backend, or it does not take these options.
        BackendError: it is not installed.
    """
    if name is not None and name not in BACKENDS:
        raise OptionError(f"backend {name!r} is unknown; edgekit has {', '.join(BACKENDS)}")
    refused = []
    for candidate in (name,) if name else BACKENDS:
        try:
            backend = import_module(f"{__name__}.{candidate}").open_backend(providers, threads, spin)
            assert isinstance(backend, Backend)
            return backend
        except BackendError as error:
            refused.append(str(error))
    raise BackendError("; ".join(refused))
