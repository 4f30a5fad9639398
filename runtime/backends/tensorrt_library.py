"""NVIDIA's `tensorrt`, imported when it is used, and a logger that keeps what it says."""

import importlib
import importlib.util
import re
import sys
from typing import Any, List, Tuple

from edgekit.errors import BackendError

OLDEST = (8, 2)  # JetPack 4.6.1
# TensorRT for desktop GPUs counts its own releases, and has the names of this one.
RTX, RTX_SPEAKS = "tensorrt_rtx", (11, 0)
ADVICE = {
    "tensorrt": "it comes with JetPack (apt install python3-libnvinfer) and works with JetPack's own Python only",
    RTX: "pip install tensorrt-rtx-cu12",
}
DLA_CORE = 0  # of two, where there are any: engines are built for it and loaded on it
LONGEST = 300  # characters of TensorRT's own words in an error


class Library:
    """The loaded package.

    Attributes:
        trt: the module. It is untyped, and differs from release to release: see `edgekit.runtime.backends.tensorrt_engine`.
        version: such as ``8.2.1``.
        number: such as (8, 2).
        log: what TensorRT has said, for every object that wants a logger.
    """

    def __init__(self, package: str = "tensorrt") -> None:
        """Import TensorRT, or the ``package`` ``tensorrt_rtx``.

        Raises:
            BackendError: it is not installed, does not load, or is too old.
        """
        self.trt = _import(package)
        self.version = re.sub(r"^(\d+(\.\d+){0,2}).*$", r"\1", str(self.trt.__version__))
        self.number: Tuple[int, ...] = tuple(int(part) for part in self.version.split(".")[:2])
        if package == RTX:
            self.number = RTX_SPEAKS
        if self.number < OLDEST:
            raise BackendError(
                f"TensorRT {self.version} is older than {OLDEST[0]}.{OLDEST[1]}; update to JetPack 4.6.1 or newer"
            )
        self.log = _logger(self.trt)

    def said(self) -> str:
        """The errors since the last call, for the message of our own."""
        errors: List[str] = self.log.errors
        text = "; ".join(errors[-2:]) or "it gives no reason"
        del errors[:]
        return text[:LONGEST]


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        there = package in sys.modules or importlib.util.find_spec(package) is not None
        what = f"is installed but does not load ({error})" if there else "is not installed"
        raise BackendError(f"{package} {what}; {ADVICE[package]}") from error


def _logger(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps errors, forgets the rest."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, on any of its threads."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(str(message).strip())

    return Log()
