"""Parse and compile a graph with NVIDIA's own TensorRT-RTX, which needs no GPU for that: the nearest to a Jetson that a PC has.

It shares parser and compiler with TensorRT, in a newer version than any Jetson's: what it refuses, they refuse; what it
takes, `edgekit.export.operators` still has to judge by the tables of the older releases.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgekit.errors import BackendError, ExportError, OptionError

# Turing, A100, Ampere, Ada, Blackwell: what its compiler can aim at. For Turing it has neither matrix products nor 3-D
# convolutions in float32 (1.7.1 says so when asked), so a graph in float32 rarely compiles for 75.
CAPABILITIES = ("75", "80", "86", "89", "120")


@dataclass(frozen=True)
class Compiled:
    """An engine for GPUs that this machine need not have.

    Attributes:
        engine: as TensorRT-RTX serialises it.
        version: of TensorRT-RTX.
        seconds: that the compilation took.
        warnings: what it said meanwhile.
    """

    engine: bytes
    version: str
    seconds: float
    warnings: tuple[str, ...]


def compile_graph(graph: bytes, capabilities: Sequence[str] = ("86",)) -> Compiled:
    """Compile the ONNX ``graph`` for GPUs of these compute capabilities, such as ``86``.

    Raises:
        BackendError: TensorRT-RTX is not installed.
        OptionError: it cannot compile for one of the capabilities.
        ExportError: it refuses the graph; the message names the node.
    """
    trt = _import()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = [parser.get_error(k) for k in range(parser.num_errors)]
        raise ExportError(
            f"TensorRT-RTX {trt.__version__} cannot read the graph: {'; '.join(map(_error, errors))}"
        )
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for k, capability in enumerate(capabilities):
        known = (
            getattr(trt.ComputeCapability, f"SM{capability}", None) if capability in CAPABILITIES else None
        )
        if known is None or not config.set_compute_capability(known, k):
            raise OptionError(
                f"TensorRT-RTX cannot compile for SM{capability}; it can for SM{', SM'.join(CAPABILITIES)}"
            )
    start = time.monotonic()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(
            f"TensorRT-RTX {trt.__version__} cannot compile the graph: {'; '.join(log.errors) or 'no reason given'}"
        )
    return Compiled(bytes(engine), trt.__version__, time.monotonic() - start, tuple(log.warnings))


def _import() -> ModuleType:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise BackendError(
            f"TensorRT-RTX is not installed ({error}): pip install tensorrt-rtx-cu12"
        ) from error
    return tensorrt_rtx  # type: ignore[no-any-return]


def _error(error: Any) -> str:  # trt.ParserError, a type that exists only once the library is loaded
    return f"{error.node_name() or 'the graph'} ({error.node_operator() or '-'}): {error.desc()}"


def _log(trt: ModuleType) -> Any:
    """A logger that keeps what it is told; its base class exists only once the library is loaded."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(message)

    return Log()
