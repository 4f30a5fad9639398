"""Stages on ONNX Runtime, from the 1.10 of JetPack 4 to today's."""

import importlib
import importlib.util
import re
import threading
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

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
from edgekit.runtime.backends.cores import CallersCore
from edgekit.runtime.backends.onnxruntime_settings import PIN, callers_core, session_config
from edgekit.runtime.device.system import usable_cores

CPU = "CPUExecutionProvider"
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}
QUIET = 4  # fatal only: errors are raised, and a cancelled stage is none


# A frame's tensors by name, of which a stage reads its own, and RunOptions to what the stage writes: OrtValues, or on the CPU what
# they wrap, since to wrap and unwrap each costs some us a stage. The package is imported only when it is used, and untyped before 1.17.
Run = Callable[[Dict[str, Any], Any], Sequence[Any]]


class _Stage(NamedTuple):
    run: Run
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]


def open_backend(
    providers: Optional[Sequence[str]], threads: Optional[int], spin: bool = True
) -> "OnnxRuntime":
    """Import ONNX Runtime and check the options.

    Raises:
        BackendError: it is not installed, or cannot be imported.
        OptionError: a provider is not there, or ``threads`` is no positive number.
    """
    check_threads(threads)
    library = _import()
    available = list(library.get_available_providers())
    if isinstance(providers, str):
        providers = [providers]
    chosen = list(providers) if providers is not None else [CPU]
    missing = [name for name in chosen if name not in available]
    if missing or not chosen:
        raise OptionError(
            f"providers: this ONNX Runtime has no {', '.join(missing) or 'empty list'}; it has {', '.join(available)}"
        )
    return OnnxRuntime(library, chosen, threads or usable_cores(), spin)


class OnnxRuntime(Backend):
    """One InferenceSession a stage; tensors stay ONNX Runtime's own between them, and are read without a copy.

    ``views``: this version does the latter by itself. ``callers_core``: where stages are run from, where that matters.
    """

    name = "onnxruntime"

    def __init__(self, library: Any, providers: Sequence[str], threads: int, spin: bool) -> None:
        self._library = library
        self.version = str(library.__version__)
        self._providers, self._threads = list(providers), threads
        self._config = session_config(library, threads, spin)
        core = callers_core(self._config)
        self.callers_core = None if core is None else CallersCore(core)
        self.settings = {
            "providers": self._providers,
            "threads": threads,
            "session_config": self._config,
        }
        self.views = _gives_views(library)
        self._bare = False  # whether frames hold what OrtValues wrap; the first stage that is loaded shows it
        self.stages: Loaded[_Stage] = Loaded()

    def let_move(self) -> None:
        """See `Backend.let_move`."""
        self._config.pop(PIN, None)
        self.callers_core = None

    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        """See `Backend.load`."""
        session = self._open(graph, source)
        reads, writes = session.get_inputs(), session.get_outputs()
        check_tensors(stage, [entry.name for entry in reads], [entry.name for entry in writes], source)
        outputs = tuple(spec.name for spec in stage.outputs)
        self.stages[stage.name] = _Stage(self._runner(session, outputs), stage.inputs, outputs)

    def _open(self, graph: bytes, source: str) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        for name, value in self._config.items():
            options.add_session_config_entry(name, value)
        try:
            return self._library.InferenceSession(graph, options, providers=self._providers)
        except Exception as error:  # ONNX Runtime's errors have no common class below Exception
            raise BackendError(
                f"{source}: ONNX Runtime {self.version} refuses this graph: {_said(error)}"
            ) from error

    def _runner(self, session: Any, outputs: Sequence[str]) -> Run:
        """How to run a session.

        Its own ``run_with_ort_values`` reads the list of results to its end, which costs 26 us from 1.13 on: there, the end is a
        C++ exception. What is below it gives them by their number; for other providers than the CPU's it is left alone, since
        it knows what to do when one of them fails.
        """
        # Not an I/O binding: ONNX Runtime 1.10 ignores the terminate flag there.
        self._bare = self._providers == [CPU] and hasattr(session, "_sess")
        if not self._bare:
            return lambda inputs, options: session.run_with_ort_values(outputs, inputs, options)
        below, numbers = session._sess.run_with_ort_values, range(len(outputs))

        def run(inputs: Dict[str, Any], options: Any) -> Sequence[Any]:
            found = below(inputs, outputs, options)
            return [found[number] for number in numbers]

        return run

    def start(self, inputs: Mapping[str, np.ndarray]) -> "OnnxRuntimeFrame":
        """See `Backend.start`."""
        wrap = self._library.OrtValue.ortvalue_from_numpy  # on the CPU, this borrows the array's memory
        wrapped = {name: wrap(array) for name, array in inputs.items()}
        values = {name: one._ortvalue for name, one in wrapped.items()} if self._bare else wrapped
        return OnnxRuntimeFrame(self, values, wrapped, self._library.RunOptions)

    def close(self) -> None:
        """See `Backend.close`."""
        self.stages.clear()


class OnnxRuntimeFrame(Frame):
    """A frame whose tensors are OrtValues, or what these wrap; ``inputs`` keep the memory that they borrow."""

    def __init__(
        self,
        backend: OnnxRuntime,
        values: Mapping[str, Any],
        inputs: Mapping[str, Any],
        new_options: Callable[[], Any],
    ) -> None:
        self._backend = backend
        self._values = dict(values)
        self._inputs = inputs
        self._new_options = new_options
        self._guard = threading.Lock()
        self._cancelled = False
        self._running: Optional[Any] = None  # the RunOptions of the stage that is running

    def run(self, stage: str) -> None:
        """See `Frame.run`."""
        loaded = self._backend.stages[stage]
        options = self._new_options()
        options.log_severity_level = QUIET
        with self._guard:
            if self._cancelled:
                raise StageCancelled(f"{stage} was cancelled before it began")
            self._running = options
        core = self._backend.callers_core
        if core is not None:
            core.take()
        try:
            outputs = loaded.run({name: self._values[name] for name in loaded.inputs}, options)
        except Exception as error:  # ONNX Runtime's errors have no common class below Exception
            if self._cancelled:
                raise StageCancelled(f"{stage} was cancelled") from error
            raise BackendError(
                f"{stage} failed in ONNX Runtime {self._backend.version}: {_said(error)}"
            ) from error
        finally:
            with self._guard:
                self._running = None
        self._values.update(zip(loaded.outputs, outputs))

    def cancel(self) -> None:
        """See `Frame.cancel`: ONNX Runtime stops between two operators."""
        with self._guard:
            self._cancelled = True
            if self._running is not None:
                self._running.terminate = True

    def read(self, name: str) -> np.ndarray:
        """See `Frame.read`: a view of the OrtValue's memory, which lives as long as the view."""
        value = self._values[name]
        if self._backend.views or value.device_name().lower() != "cpu":
            return value.numpy()  # type: ignore[no-any-return]
        dtype, shape = DTYPES.get(value.data_type()), value.shape()
        if dtype is None or 0 in shape:
            return value.numpy()  # type: ignore[no-any-return]
        return np.asarray(_Memory(value, shape, dtype))


class _Memory:
    """An OrtValue's memory as NumPy asks for it; arrays made from it keep it, and it keeps the value."""

    def __init__(self, value: Any, shape: Sequence[int], dtype: str) -> None:
        self.value = value
        self.__array_interface__ = {
            "data": (value.data_ptr(), False),
            "shape": tuple(shape),
            "typestr": np.dtype(dtype).str,
            "version": 3,
        }


def _gives_views(library: Any) -> bool:
    """Whether this version's OrtValues give their memory as arrays without a copy, which is quicker than to ask where it is."""
    value = library.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))
    return bool(value.numpy().ctypes.data == value.data_ptr())


def _import() -> Any:
    try:
        library = importlib.import_module("onnxruntime")
    except (
        Exception
    ) as error:  # a build against another numpy fails with AttributeError or ImportError, deep inside
        installed = importlib.util.find_spec("onnxruntime") is not None
        what = f"is installed but cannot be imported ({error})" if installed else "is not installed"
        raise BackendError(
            f"ONNX Runtime {what}; pip install onnxruntime, or on a Jetson the onnxruntime-gpu wheel of its JetPack"
        ) from error
    if not hasattr(library, "InferenceSession"):
        raise BackendError(
            "ONNX Runtime is installed incompletely; pip install --force-reinstall onnxruntime"
        )
    return library


def _said(error: Exception) -> str:
    """The first line of what ONNX Runtime said, without its own prefixes."""
    lines: List[str] = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : |Error in execution: )+", "", lines[0])[:300]
