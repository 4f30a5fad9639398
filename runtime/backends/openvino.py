"""Stages on OpenVINO, for PCs: it fuses what ONNX Runtime runs node by node, and has products of 8 bits for `qdq` graphs.

Not for Jetsons: it has no package for Python 3.6, and nothing there beats the GPU.
"""

import importlib
import importlib.util
import re
import threading
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import StageSpec
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.backends.base import (
    Backend,
    Frame,
    Loaded,
    StageCancelled,
    check_tensors,
    check_threads,
)
from edgekit.runtime.device.system import usable_cores

DEVICE = "CPU"
# Such graphs crash the process while it reads them (2026.4).
FOREIGN = b"com.microsoft"


class _Output(NamedTuple):
    """One output of a stage; ``shape`` is None where it depends on the inputs'."""

    name: str
    number: int
    shape: Optional[Tuple[int, ...]]
    dtype: np.dtype


class _Stage(NamedTuple):
    request: Any
    inputs: Tuple[Tuple[str, int], ...]  # names, and their numbers in the graph
    outputs: Tuple[_Output, ...]
    turn: threading.Lock  # the request has one set of tensors


class _Shared(NamedTuple):
    """An array, and OpenVINO's tensor of the same memory."""

    array: np.ndarray
    tensor: Any


def open_backend(providers: Optional[Sequence[str]], threads: Optional[int], spin: bool = True) -> "OpenVino":
    """Import OpenVINO and check the options; when its threads spin, it decides itself.

    Raises:
        BackendError: it is not installed, or cannot be imported.
        OptionError: ``providers`` are given, or ``threads`` is no positive number.
    """
    if providers is not None:
        raise OptionError(
            f'providers={providers!r}: OpenVINO has none; it is an option of backend="onnxruntime"'
        )
    check_threads(threads)
    return OpenVino(_import(), threads or usable_cores())


class OpenVino(Backend):
    """One compiled model and one request a stage; a frame's tensors are arrays that OpenVINO reads and writes in place."""

    name = "openvino"

    def __init__(self, library: Any, threads: int) -> None:
        self._library = library
        self.version = re.sub(r"^(\d+(\.\d+)*).*$", r"\1", str(library.__version__))
        self._config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # Which would bind the calling thread too, for every stage: 0.98 to 1.00 of the time without.
            "ENABLE_CPU_PINNING": False,
            # By itself it takes bfloat16 or float16 where the processor has them, and answers otherwise.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self.settings = {"threads": threads, "device": DEVICE, "properties": self._config}
        self._core = library.Core()
        self.stages: Loaded[_Stage] = Loaded()

    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        """See `Backend.load`."""
        if FOREIGN in graph:
            raise BackendError(
                f"{source}: {stage.name}'s operators are ONNX Runtime's own, and OpenVINO has none of them;"
                ' take another variant (`edgekit inspect` lists them), or backend="onnxruntime"'
            )
        try:
            compiled = self._core.compile_model(self._core.read_model(graph, b""), DEVICE, self._config)
        except Exception as error:  # OpenVINO's errors have no common class below Exception
            raise BackendError(
                f"{source}: OpenVINO {self.version} refuses this graph: {_said(error)}"
            ) from error
        outputs = [spec.name for spec in stage.outputs]
        reads, writes = _named(compiled.inputs, stage.inputs), _named(compiled.outputs, outputs)
        check_tensors(stage, reads, writes, source)
        self.stages[stage.name] = _Stage(
            compiled.create_infer_request(),
            tuple((name, reads.index(name)) for name in stage.inputs),
            tuple(_output(name, writes.index(name), compiled.outputs) for name in outputs),
            threading.Lock(),
        )

    def start(self, inputs: Mapping[str, np.ndarray]) -> "OpenVinoFrame":
        """See `Backend.start`."""
        return OpenVinoFrame(self, inputs, self._library.Tensor)

    def close(self) -> None:
        """See `Backend.close`."""
        self.stages.clear()


class OpenVinoFrame(Frame):
    """A frame whose tensors are arrays of its own, which OpenVINO reads and writes in place."""

    def __init__(self, backend: OpenVino, inputs: Mapping[str, np.ndarray], tensor: Any) -> None:
        self._backend = backend
        self._tensor = tensor
        self._tensors: Dict[str, _Shared] = {}
        for name, array in inputs.items():
            # What OpenVINO shares memory with must be whole and writeable, although it only reads it.
            usable = array.flags.c_contiguous and array.flags.writeable
            self._tensors[name] = self._shared(array if usable else np.array(array, order="C"))
        self._guard = threading.Lock()
        self._cancelled = False
        self._running: Optional[Any] = None  # the request of the stage that is running

    def run(self, stage: str) -> None:
        """See `Frame.run`."""
        loaded = self._backend.stages[stage]
        with loaded.turn:
            try:
                written = self._give(loaded)
                with self._guard:
                    if self._cancelled:
                        raise StageCancelled(f"{stage} was cancelled before it began")
                    self._running = loaded.request
                # On this thread, which has its own priority; without `share_outputs`, all of them would be copied.
                loaded.request.infer(share_outputs=True)
            except StageCancelled:
                raise
            except Exception as error:  # OpenVINO's errors have no common class below Exception
                if self._cancelled:
                    raise StageCancelled(f"{stage} was cancelled") from error
                raise BackendError(
                    f"{stage} failed in OpenVINO {self._backend.version}: {_said(error)}"
                ) from error
            finally:
                with self._guard:
                    self._running = None
            for output in loaded.outputs:
                if output.shape is None:
                    written[output.name] = self._shared(
                        np.array(loaded.request.get_output_tensor(output.number).data)
                    )
        self._tensors.update(written)

    def read(self, name: str) -> np.ndarray:
        """See `Frame.read`: the array that the stage wrote into, which no other frame has."""
        return self._tensors[name].array

    def cancel(self) -> None:
        """See `Frame.cancel`: OpenVINO stops between two operators."""
        with self._guard:
            self._cancelled = True
            if self._running is not None:
                self._running.cancel()

    def _give(self, loaded: _Stage) -> Dict[str, _Shared]:
        """Tell the request where this frame's tensors are; new ones for what it writes, where their size is known."""
        for name, index in loaded.inputs:
            loaded.request.set_input_tensor(index, self._tensors[name].tensor)
        written = {}
        for output in loaded.outputs:
            if output.shape is not None:
                shared = self._shared(np.empty(output.shape, output.dtype))
                loaded.request.set_output_tensor(output.number, shared.tensor)
                written[output.name] = shared
        return written

    def _shared(self, array: np.ndarray) -> _Shared:
        return _Shared(array, self._tensor(array, shared_memory=True))


def _named(ports: Sequence[Any], wanted: Sequence[str]) -> List[str]:
    """A name for each input or output of a graph: the wanted one where it has several."""
    found: List[str] = []
    for port in ports:
        names = sorted(port.get_names())
        known = [name for name in names if name in wanted and name not in found]
        found.append((known or names or ["?"])[0])
    return found


def _output(name: str, index: int, ports: Sequence[Any]) -> _Output:
    port = ports[index]
    shape = port.get_partial_shape()
    static = tuple(int(side) for side in port.get_shape()) if shape.is_static else None
    return _Output(name, index, static, np.dtype(port.get_element_type().to_dtype()))


def _import() -> Any:
    try:
        library = importlib.import_module("openvino")
    except Exception as error:  # a build against another numpy fails in its own way, deep inside
        installed = importlib.util.find_spec("openvino") is not None
        what = f"is installed but cannot be imported ({error})" if installed else "is not installed"
        raise BackendError(
            f'OpenVINO {what}; pip install openvino (for PCs; Jetsons have backend="tensorrt")'
        ) from error
    if not hasattr(library, "Core"):
        raise BackendError("OpenVINO is installed incompletely; pip install --force-reinstall openvino")
    return library


def _said(error: Exception) -> str:
    """What OpenVINO said, in one line, without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not re.match(r"Exception from |Check '", line)]
    return " ".join(told or [type(error).__name__])[:300]
