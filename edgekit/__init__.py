"""The front door: export a trained adaptive network to a bundle, load a bundle and run it inside a latency budget."""

from typing import TYPE_CHECKING, Mapping, Optional, Sequence, Union

from edgekit.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    EdgekitError,
    ExportError,
    InputError,
    OptionError,
    ParityError,
)

if TYPE_CHECKING:
    import os

    from edgekit.bundle import Bundle
    from edgekit.runtime.clock import Clock
    from edgekit.runtime.policies import Policy
    from edgekit.runtime.session import Session

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "EdgekitError",
    "ExportError",
    "InputError",
    "OptionError",
    "ParityError",
    "__version__",
    "export",
    "load",
]


def export(**options: object) -> "Bundle":
    """Turn a trained network into a bundle; the options are those of `edgekit.export.exporter.export`.

    Importing `edgekit.export` replaces this function by the package, which is callable with the same options.

    Raises:
        ExportError: what exporting needs is not installed, or the network cannot be exported.
    """
    import sys

    if sys.version_info < (3, 10):
        raise ExportError(
            "exporting needs Python 3.10 or newer; this one, {}.{}, runs bundles".format(*sys.version_info)
        )
    import importlib

    try:
        package = importlib.import_module("edgekit.export")
        # What the package itself imports only when it is called
        importlib.import_module("edgekit.export.exporter")
    except ImportError as error:
        raise ExportError(f"exporting needs more packages ({error}): pip install edgekit[export]") from error
    return package(**options)  # type: ignore[operator,no-any-return]


def load(
    path: "Union[str, os.PathLike[str]]",
    backend: Optional[str] = None,
    providers: Optional[Sequence[str]] = None,
    threads: Optional[int] = None,
    variants: Optional[Mapping[str, str]] = None,
    clock: "Optional[Clock]" = None,
    allow_nonfinite: bool = False,
    warmup: int = 5,
    confidence: Optional[float] = None,
    policies: "Optional[Sequence[Policy]]" = None,
    spin: bool = True,
    build: bool = False,
    network: Optional[str] = None,
    priority: str = "normal",
) -> "Session":
    """Open a bundle and make it ready to run; see `edgekit.runtime.session.Session.open`.

    Args:
        path: the bundle's directory.
        backend: ``onnxruntime``, ``openvino`` (PCs), ``native``, ``tensorrt`` or ``tensorrt_rtx``; by default TensorRT where `edgekit
            build` has built engines, else ONNX Runtime, or OpenVINO or native where `edgekit bench` has measured both here and it was
            quicker.
        providers: ONNX Runtime's execution providers, best first; by default the CPU.
        threads: CPU threads of a stage; by default one per core that this process may use.
        variants: graph to take per stage, such as ``{"stage2": "banded"}``; by default what was measured to be fastest.
        clock: where time comes from.
        allow_nonfinite: let NaN and Inf in the inputs pass.
        warmup: frames of the golden input to run first, so that the scheduler knows each stage's duration.
        confidence: how sure the scheduler must be that a stage fits; see `edgekit.runtime.session.Session.open`.
        policies: asked at every exit whether its answer is good enough; see `edgekit.runtime.policies`. By default, frames of
            a calibrated bundle end at the first exit that is sure enough, with ``reason="confident"``; give () for none.
        spin: ONNX Runtime's threads wait for each other inside a stage by spinning: a quarter faster where the network has its cores to
            itself. Where other processes want them too, it costs about a tenth with ONNX Runtime 1.26 and later, which
            bound it, and several times as much with older ones: give False there.
        build: build TensorRT engines that this device lacks, as after an update or in another power mode, which may take
            minutes; without it, they are refused in a sentence that says what changed.
        network: of a bundle with several networks, the one to run; by default the scheduler picks one for every frame.
        priority: ``realtime`` runs stages, and callers while they wait, before all processes that are scheduled in turns
            (SCHED_FIFO), where this process may: then answers are in time whatever else the processor has to do.

    Raises:
        BundleError: no bundle, or a damaged one.
        BackendError: the backend is missing or refuses a graph.
        OptionError: an option is wrong.
    """
    from edgekit.runtime.session import Session

    return Session.open(
        path,
        backend,
        providers,
        threads,
        variants,
        clock,
        allow_nonfinite,
        warmup,
        confidence,
        policies,
        spin,
        build,
        network,
        priority,
    )
