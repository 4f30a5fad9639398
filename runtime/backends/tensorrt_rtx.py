"""Stages as engines of TensorRT-RTX, for robots with a desktop GPU: compiled at export, without a GPU, and kept in the bundle."""

from typing import Optional, Sequence, Tuple

from edgekit.bundle import Bundle, StageSpec
from edgekit.errors import BackendError
from edgekit.runtime.backends.cuda import Cuda
from edgekit.runtime.backends.tensorrt import TensorRT, refuse_options
from edgekit.runtime.backends.tensorrt_library import RTX, Library
from edgekit.runtime.device.fingerprint import Fingerprint


def open_backend(
    providers: Optional[Sequence[str]], threads: Optional[int], spin: bool = True
) -> "TensorRTRTX":
    """Import TensorRT-RTX and open the GPU.

    Raises:
        BackendError: TensorRT-RTX or PyCUDA is not installed, or there is no GPU.
        OptionError: an option is ONNX Runtime's.
    """
    refuse_options(providers, threads)
    return TensorRTRTX(Library(RTX), Cuda())


class TensorRTRTX(TensorRT):
    """Runs as `TensorRT` does; TensorRT-RTX finishes its engines for this very GPU when they are loaded, in seconds."""

    name = "tensorrt_rtx"

    def read(
        self, bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str
    ) -> Tuple[bytes, str]:
        """See `Backend.read`: the engine that the bundle came with."""
        capability = "".join(str(part) for part in self.cuda.sm)
        engine = f"rtx/{stage.name}.{variant}.engine"
        target = bundle.manifest.target
        if engine not in bundle.manifest.files:
            raise BackendError(
                f"{bundle.path}: has no engine of {stage.name} {variant} for desktop GPUs; export it with"
                f" --target rtx-sm{capability}"
            )
        if target != f"rtx-sm{capability}":
            raise BackendError(
                f"{bundle.path}: its engines are for {target[len('rtx-') :].upper()}, this GPU ({self.cuda.name}) is"
                f" SM{capability}; export it with --target rtx-sm{capability}"
            )
        self.precisions[stage.name] = next(one.precision for one in stage.variants if one.name == variant)
        return bundle.read_bytes(engine), engine

    def prepare(self, bundle: Bundle) -> None:
        """See `Backend.prepare`: nothing is built here."""
