"""Stages on ONNX Runtime, from the 1.10 of JetPack 4 to today's."""

import importlib
import importlib.util
import os
import re
import threading
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import StageSpec
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.backends.base import Backend, Frame, Loaded, StageCancelled, check_tensors

CPU = "CPUExecutionProvider"
# Each session has worker threads of its own, and those of the stage that has just run go on spinning for a while: on two
# cores they made a chain of three stages 2.9 times as slow as the same graph uncut. Told to stop spinning at the end of a
# run, the chain takes 1.03 times as long; threads that never spin take 1.25 times as long.
# Where other processes want all cores too, threads that spin inside a run wait for others that do not run. Without a bound,
# one neighbour on two cores makes that 58 ms a frame, and 26 ms without spinning; a bound of 20 us makes it 31 ms, and keeps
# all of the speed where there is no neighbour, which a bound of 10 us does not (AnyNet at 368 x 1232; ONNX Runtime 1.31).
STOP_SPINNING = ("session.force_spinning_stop", "1")
BOUND_SPINNING = ("session.intra_op.spin_duration_us", "20")
NEVER_SPIN = ("session.intra_op.allow_spinning", "0")
# Between frames threads sleep, and a kernel may wake two of a stage's on one core and leave them there for some ms: in frames
# that came 30 times a second, stages took 1.2 to 1.7 times as long as in frames without a pause between them, and did not
# where all but the thread that calls had a core each. So they have, where they take every core anyway.
PIN = "session.intra_op_thread_affinities"
FIRST_TO_STOP_SPINNING = (1, 14)
FIRST_TO_PIN = (1, 14)
FIRST_TO_BOUND_SPINNING = (1, 26)
# Stages run one after the other: what one has used as scratch memory is in the cache for the next.
SHARE_MEMORY = ("session.use_env_allocators", "1")
QUIET = 4  # fatal only: errors are raised, and a cancelled stage is none


class _Stage(NamedTuple):
    session: Any  # onnxruntime.InferenceSession: the package is imported only when it is used, and is untyped before 1.17
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
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads={threads!r}: must be a positive whole number")
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


def usable_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class OnnxRuntime(Backend):
    """One InferenceSession a stage; tensors stay ONNX Runtime's own between them, and are read without a copy.

    ``views``: this version does the latter by itself.
    """

    name = "onnxruntime"

    def __init__(self, library: Any, providers: Sequence[str], threads: int, spin: bool) -> None:
        self._library = library
        self.version = str(library.__version__)
        config = dict(_spinning(self.version) if spin else [NEVER_SPIN], **_pinning(self.version, threads))
        self.settings = {"providers": list(providers), "threads": threads, "session_config": config}
        self._options = library.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = QUIET
        for name, value in config.items():
            self._options.add_session_config_entry(name, value)
        self.views = _gives_views(library)
        self.stages: Loaded[_Stage] = Loaded()

    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        """See `Backend.load`."""
        try:
            session = self._library.InferenceSession(
                graph, self._options, providers=self.settings["providers"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common class below Exception
            raise BackendError(
                f"{source}: ONNX Runtime {self.version} refuses this graph: {_said(error)}"
            ) from error
        reads, writes = session.get_inputs(), session.get_outputs()
        check_tensors(stage, [entry.name for entry in reads], [entry.name for entry in writes], source)
        self.stages[stage.name] = _Stage(session, stage.inputs, tuple(spec.name for spec in stage.outputs))

    def start(self, inputs: Mapping[str, np.ndarray]) -> "OnnxRuntimeFrame":
        """See `Backend.start`."""
        wrap = self._library.OrtValue.ortvalue_from_numpy  # on the CPU, this borrows the array's memory
        values = {name: wrap(array) for name, array in inputs.items()}
        return OnnxRuntimeFrame(self, values, self._library.RunOptions)

    def close(self) -> None:
        """See `Backend.close`."""
        self.stages.clear()


class OnnxRuntimeFrame(Frame):
    """A frame whose tensors are OrtValues."""

    def __init__(self, backend: OnnxRuntime, values: Dict[str, Any], new_options: Callable[[], Any]) -> None:
        self._backend = backend
        self._values = values
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
        try:
            # Not an I/O binding: ONNX Runtime 1.10 ignores the terminate flag there.
            inputs = {name: self._values[name] for name in loaded.inputs}
            outputs = loaded.session.run_with_ort_values(loaded.outputs, inputs, options)
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
        if self._backend.views or value.device_name() != "cpu":
            return value.numpy()  # type: ignore[no-any-return]
        dtype, shape = _DTYPES.get(value.data_type()), value.shape()
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


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}


def _spinning(version: str) -> Dict[str, str]:
    """The session's settings with which threads spin inside a run, as far as this version can do it sensibly."""
    number = _number(version)
    if number < FIRST_TO_STOP_SPINNING:
        return dict([NEVER_SPIN])
    return dict([STOP_SPINNING, BOUND_SPINNING] if number >= FIRST_TO_BOUND_SPINNING else [STOP_SPINNING])


def _pinning(version: str, threads: int) -> Dict[str, str]:
    """The session's setting that gives a core to each of its own threads, where they are to take all that this process may use."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if _number(version) < FIRST_TO_PIN or not 1 < threads == len(cores):
        return {}
    return {PIN: ";".join(str(core + 1) for core in cores[1:])}  # ONNX Runtime counts from 1


def _number(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _gives_views(library: Any) -> bool:
    """Whether this version's OrtValues give their memory as arrays without a copy, which is quicker than to ask where it is."""
    value = library.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32))
    return bool(value.numpy().ctypes.data == value.data_ptr())


def _share_memory(library: Any) -> bool:
    """Let this process have one arena for all sessions that ask for it; whether it has one."""
    try:
        kind = library.OrtMemoryInfo(
            "Cpu", library.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, library.OrtMemType.DEFAULT
        )
        library.create_and_register_allocator(kind, None)
    except AttributeError:  # a build without this part of the interface
        return False
    except Exception as error:  # ONNX Runtime's errors have no common class below Exception
        return "already" in str(error)
    return True


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
