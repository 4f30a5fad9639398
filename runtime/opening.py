"""Which backend runs a bundle here: the one wanted, else TensorRT where its engines are built, else ONNX Runtime."""

import logging
from typing import Callable, Optional, Sequence, TypeVar

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.backends import Backend, candidates, open_backend

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
) -> Opened:
    """What ``make`` makes of the first backend that can run the bundle; a backend that fails is closed again.

    With ``build``, engines that are missing are built first; without a backend that is wanted, this asks for TensorRT.

    Raises:
        BackendError: none can; where several were tried, it says why of each.
        OptionError: an option is wrong.
    """
    refused = []
    wanted = "tensorrt" if build and backend is None else backend
    names = candidates(wanted, bundle.path, providers, threads)
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
