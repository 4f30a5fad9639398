"""Which backend runs a bundle here: the one wanted, else TensorRT where its engines are built, else ONNX Runtime, or what was
measured to be quicker."""

import importlib.util
import logging
from typing import Callable, Mapping, Optional, Sequence, Tuple, TypeVar

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import Backend, candidates, open_backend
from edgekit.runtime.quickest import USUAL, native_could_run, quickest

Opened = TypeVar("Opened")

log = logging.getLogger("edgekit")


def open_with(
    make: Callable[[Backend], Opened],
    bundle: Bundle,
    backend: Optional[str],
    providers: Optional[Sequence[str]],
    threads: Optional[int],
    spin: bool,
    build: bool,
    variants: Optional[Mapping[str, str]] = None,
) -> Opened:
    """What ``make`` makes of the first backend that can run the bundle; a backend that fails is closed again.

    With ``build``, engines that are missing are built first; without a backend that is wanted, this asks for TensorRT.

    Raises:
        BackendError: none can; where several were tried, it says why of each.
        OptionError: an option is wrong.
    """
    refused = []
    wanted = "tensorrt" if build and backend is None else backend
    names = backends_here(bundle, wanted, providers, threads, variants)
    for name in names:
        try:
            opened = open_backend(name, providers, threads, spin)
            try:
                if build:
                    opened.prepare(bundle)
                return make(opened)
            except BaseException:
                opened.close()
                raise
        except BackendError as error:
            refused.append(error)
            if name != names[-1]:
                log.warning("%s is not used: %s", name, error)
    if len(refused) == 1:
        raise refused[0]
    raise BackendError("; ".join(str(error) for error in refused)) from refused[0]


def usual_backends(
    bundle: Bundle, wanted: Optional[str], providers: Optional[Sequence[str]], threads: Optional[int]
) -> Tuple[str, ...]:
    """The backends to try before anything was measured, best first: native where ONNX Runtime is not installed."""
    names = candidates(wanted, bundle.path, providers, threads)
    alone = wanted is None and providers is None and names == (USUAL,)
    if alone and importlib.util.find_spec(USUAL) is None and native_could_run(bundle):
        return "native", USUAL
    return names


def backends_here(
    bundle: Bundle,
    wanted: Optional[str],
    providers: Optional[Sequence[str]],
    threads: Optional[int],
    variants: Optional[Mapping[str, str]] = None,
) -> Tuple[str, ...]:
    """The backends to try, best first. Whoever names ``variants`` means those of the backend that is usual."""
    names = usual_backends(bundle, wanted, providers, threads)
    if wanted is not None or providers is not None or variants or names not in ((USUAL,), ("native", USUAL)):
        return names
    best = quickest(bundle, threads, names[0])
    return (best, *(name for name in names if name != best))
