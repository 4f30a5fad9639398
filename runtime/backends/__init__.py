"""What executes a stage: one file a backend, each imported only when it is used."""

import os
from importlib import import_module
from typing import Optional, Sequence, Tuple

from edgekit.errors import OptionError
from edgekit.runtime.backends.base import Backend, Frame, StageCancelled

__all__ = ["BACKENDS", "Backend", "Frame", "StageCancelled", "candidates", "open_backend"]

BACKENDS = ("onnxruntime", "openvino", "native", "tensorrt", "tensorrt_rtx")


def candidates(
    name: Optional[str], bundle: str, providers: Optional[Sequence[str]], threads: Optional[int]
) -> Tuple[str, ...]:
    """The backends to try for the bundle at this path, best first: the one wanted; else TensorRT where engines are."""
    if name is not None:
        return (name,)
    if os.path.isdir(os.path.join(bundle, "rtx")) and providers is None and threads is None:
        return ("tensorrt_rtx", "onnxruntime")
    engines = os.path.join(bundle, "engines")
    built = os.path.isdir(engines) and bool(os.listdir(engines))
    return (
        ("tensorrt", "onnxruntime") if built and providers is None and threads is None else ("onnxruntime",)
    )


def open_backend(
    name: Optional[str],
    providers: Optional[Sequence[str]] = None,
    threads: Optional[int] = None,
    spin: bool = True,
) -> Backend:
    """The backend called ``name``, ONNX Runtime by default; the options are those of `edgekit.load`.

    Raises:
        OptionError: there is no such backend, or it does not take these options.
        BackendError: it is not installed.
    """
    if name is not None and name not in BACKENDS:
        raise OptionError(f"backend {name!r} is unknown; edgekit has {', '.join(BACKENDS)}")
    names = [providers] if isinstance(providers, str) else providers
    if names is not None and not (
        isinstance(names, (list, tuple)) and all(isinstance(one, str) for one in names)
    ):
        raise OptionError(
            f'providers={providers!r}: must name ONNX Runtime\'s execution providers, such as ["CPUExecutionProvider"]'
        )
    backend = import_module(f"{__name__}.{name or BACKENDS[0]}").open_backend(providers, threads, spin)
    assert isinstance(backend, Backend)
    return backend
