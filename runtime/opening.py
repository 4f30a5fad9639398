"""Which backend runs a bundle here: the one wanted, else TensorRT where its engines are built, else ONNX Runtime, or
OpenVINO where it was measured to be quicker."""

import logging
from typing import Callable, Mapping, Optional, Sequence, Tuple, TypeVar

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import Backend, candidates, open_backend
from edgekit.runtime.quickest import OTHER, USUAL, openvino_is_quicker

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


def backends_here(
    bundle: Bundle,
    wanted: Optional[str],
    providers: Optional[Sequence[str]],
    threads: Optional[int],
    variants: Optional[Mapping[str, str]] = None,
) -> Tuple[str, ...]:
    """The backends to try, best first. Whoever names ``variants`` means those of the backend that is usual."""
    names = candidates(wanted, bundle.path, providers, threads)
    free = wanted is None and providers is None and not variants
    return (OTHER, USUAL) if free and names == (USUAL,) and openvino_is_quicker(bundle, threads) else names
