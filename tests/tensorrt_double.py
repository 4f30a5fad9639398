"""A double of NVIDIA's `tensorrt` for tests: exactly the recorded names of one release; ONNX Runtime executes the stages.

No figure comes from it. `make("8.2", gpu)` is a module whose classes have the names that tests/tensorrt_api.json records for
that release's Python bindings, and no other: what a release lacks is an AttributeError, as it would be on the robot; a name
that is recorded and that the double does not know raises `DoubleLacks`. Engines hold the graph that they were built from, and
load only where their release and their GPU are. It is driven with `tests.pycuda_double`.
"""

import ctypes
import hashlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Optional, Set, Tuple

import numpy as np
import onnxruntime

from tests.pycuda_double import GARBAGE, Gpu

API: Dict[str, Dict[str, List[str]]] = json.loads(
    (Path(__file__).parent / "tensorrt_api.json").read_text(encoding="ascii")
)
MAGIC = b"DOUBLE"
SCRATCH = 4096
_NUMPY = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT32": np.int32,
    "INT8": np.int8,
    "BOOL": np.bool_,
    "INT64": np.int64,
}
_ORT = {
    "tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int32)": "INT32", "tensor(int8)": "INT8", "tensor(bool)": "BOOL",
    "tensor(int64)": "INT64",
}  # fmt: skip


class DoubleLacks(Exception):
    """The release has this name; the double does not know what it does."""


class Behaviour:
    """What a test asks of the double.

    Attributes:
        refuses: reasons by a text that a graph must not hold.
        most_workspace: bytes above which no engine can be built, as where memory is short.
        build_seconds: that a build takes.
        seconds: that an engine takes on top, by ``fp32``, ``fp16``, ``int8`` and ``dla``.
        fails: an execution returns False.
        half_overflows: engines in FP16 give Inf.
        hollow: engines compute nothing: what is left is what the backend does.
        no_fp16: the module is slow in FP16 (``platform_has_fast_fp16`` is false).
        dla_cores: of the module.
    """

    def __init__(self) -> None:
        self.refuses: Dict[bytes, str] = {}
        self.most_workspace = 1 << 40
        self.build_seconds = 0.0
        self.seconds: Dict[str, float] = {}
        self.fails = False
        self.half_overflows = False
        self.hollow = False
        self.no_fp16 = False
        self.no_int8 = False
        self.dla_cores = 0
        self.builds = 0
        self.touched: Set[Tuple[str, str]] = set()


class _Member:
    """A member of an enumeration, as pybind11 makes them."""

    def __init__(self, kind: str, name: str, value: int) -> None:
        self.name = name
        self.value = value
        self._kind = kind

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Member) and (self._kind, self.value) == (other._kind, other.value)

    def __hash__(self) -> int:
        return hash((self._kind, self.value))

    def __repr__(self) -> str:
        return f"{self._kind}.{self.name}"


def make(release: str, gpu: Gpu, patch: str = "1") -> Any:
    """The module `tensorrt` of ``release``, such as ``8.2``, on ``gpu``. ``module.behaviour`` is what tests turn."""
    api = API[release]
    module: Any = ModuleType("tensorrt")
    module.__version__ = f"{release}.{patch}"
    module.behaviour = behaviour = Behaviour()
    world = _World(module, release, gpu, behaviour)
    for kind, names in api.items():
        members = [name for name in names if name == name.upper()]
        if kind in _ENUMERATIONS:
            fields = {name: _Member(kind, name, value) for value, name in enumerate(members)}
            setattr(module, kind, _recorder(behaviour)(kind, (), fields))
    for kind, implementation in _CLASSES.items():
        if kind in api:
            setattr(module, kind, _restricted(kind, implementation, api[kind], world))
    return module


def install(module: ModuleType, modules: Optional[Dict[str, Any]] = None) -> None:
    """Put the double where ``import tensorrt`` finds it."""
    (sys.modules if modules is None else modules)["tensorrt"] = module


def plan(module: Any, graph: bytes) -> bytes:
    """An engine of ``graph`` for the double ``module``'s GPU; a context must be current."""
    log = module.ILogger()
    builder = module.Builder(log)
    network = builder.create_network(1)
    assert module.OnnxParser(network, log).parse(graph)
    return bytes(builder.build_serialized_network(network, builder.create_builder_config()))


def _recorder(behaviour: Behaviour) -> type:
    class Recorder(type):
        def __getattribute__(cls, name: str) -> Any:
            value = type.__getattribute__(cls, name)
            if not name.startswith("_"):
                behaviour.touched.add((cls.__name__, name))
            return value

    return Recorder


def _restricted(kind: str, implementation: type, names: List[str], world: "_World") -> type:
    """``implementation`` with the names that are recorded for ``kind`` and no other."""
    touched = world.behaviour.touched
    parts: Dict[str, Any] = {
        name: value
        for base in reversed(implementation.__mro__[:-1])
        for name, value in vars(base).items()
        if (name.startswith("_") and name not in ("__dict__", "__weakref__", "__doc__")) or name in names
    }

    def read(self: object, name: str) -> Any:
        if not name.startswith("_"):
            if name in names:
                touched.add((kind, name))
            if name in names and not hasattr(implementation, name):
                raise DoubleLacks(f"{kind}.{name} of TensorRT {world.release}")
        return object.__getattribute__(self, name)

    def write(self: object, name: str, value: object) -> None:
        # A subclass may have attributes of its own
        if not name.startswith("_") and type(self).__name__ == kind:
            if name not in names:
                raise AttributeError(f"'tensorrt.{kind}' object has no attribute '{name}'")
            touched.add((kind, name))
            if not isinstance(parts.get(name), property):
                raise DoubleLacks(f"{kind}.{name} of TensorRT {world.release} cannot be set")
        object.__setattr__(self, name, value)

    parts.update(__getattribute__=read, __setattr__=write, _world=world)
    made = _recorder(world.behaviour)(kind, (), parts)
    if kind == "ILogger":
        for value, name in enumerate(("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")):
            type.__setattr__(made, name, _Member("Severity", name, value))
    return made


class _World:
    """One release on one machine."""

    def __init__(self, module: Any, release: str, gpu: Gpu, behaviour: Behaviour) -> None:
        self.module = module
        self.release = release
        self.number = tuple(int(part) for part in release.split("."))
        self.gpu = gpu
        self.behaviour = behaviour

    def say(self, logger: Any, severity: str, text: str) -> None:
        logger.log(
            _Member(
                "Severity",
                severity,
                ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE").index(severity),
            ),
            text,
        )


class _ILogger:
    _world: _World

    def __init__(self) -> None:
        self._made = True

    def log(self, severity: Any, message: str) -> None:
        """Overridden."""


class _HostMemory:
    """IHostMemory: bytes, read through the buffer protocol; here through ``bytes()``."""

    _world: _World

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data

    @property
    def nbytes(self) -> int:
        return len(self._data)


class _Network:
    _world: _World

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._graph: Optional[bytes] = None

    def __len__(self) -> int:
        return 1


class _ParserError:
    _world: _World

    def __init__(self, text: str, node: int = 0) -> None:
        self._text = text
        self._node = node

    def desc(self) -> str:
        return self._text

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return "net.layer/Op"

    def node_operator(self) -> str:
        return "Op"


class _Parser:
    _world: _World

    def __init__(self, network: _Network, logger: Any) -> None:
        self._network = network
        self._errors: List[_ParserError] = []

    def parse(self, graph: bytes) -> bool:
        for text, reason in self._world.behaviour.refuses.items():
            if text in graph:
                self._errors.append(self._world.module.ParserError(reason))
                return False
        try:
            _session(graph)
        except Exception:
            self._errors.append(self._world.module.ParserError("Failed to parse the ModelProto"))
            return False
        self._network._graph = bytes(graph)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _ParserError:
        return self._errors[index]


class _TimingCache:
    _world: _World

    def __init__(self, data: bytes, head: bytes) -> None:
        self._data = data or head
        self._fits = self._data.startswith(head)

    def serialize(self) -> _HostMemory:
        return self._world.module.IHostMemory(self._data)  # type: ignore[no-any-return]


class _Config:
    _world: _World

    def __init__(self) -> None:
        self._flags: Set[str] = set()
        self._workspace = 1 << 34
        self._device = "GPU"
        self._core = -1
        self._cache: Optional[_TimingCache] = None
        self._verbosity: Any = None

    def set_flag(self, flag: _Member) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: _Member) -> None:
        self._flags.discard(flag.name)

    def get_flag(self, flag: _Member) -> bool:
        return flag.name in self._flags

    def set_memory_pool_limit(self, pool: _Member, limit: int) -> None:
        assert pool.name == "WORKSPACE"
        self._workspace = limit

    def create_timing_cache(self, data: bytes) -> _TimingCache:
        head = f"CACHE {self._world.release} {self._world.gpu.sm} ".encode()
        return self._world.module.ITimingCache(data, head)  # type: ignore[no-any-return]

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        if not cache._fits and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Optional[_TimingCache]:
        return self._cache

    max_workspace_size = property(
        lambda self: self._workspace, lambda self, value: setattr(self, "_workspace", value)
    )
    default_device_type = property(
        lambda self: self._device, lambda self, value: setattr(self, "_device", value.name)
    )
    DLA_core = property(lambda self: self._core, lambda self, value: setattr(self, "_core", value))


class _Builder:
    _world: _World

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._world.gpu.require_context()

    @property
    def platform_has_fast_fp16(self) -> bool:
        return not self._world.behaviour.no_fp16

    @property
    def platform_has_fast_int8(self) -> bool:
        return not self._world.behaviour.no_int8

    @property
    def num_DLA_cores(self) -> int:
        return self._world.behaviour.dla_cores

    def create_network(self, flags: int = 0) -> _Network:
        return self._world.module.INetworkDefinition(flags)  # type: ignore[no-any-return]

    def create_builder_config(self) -> _Config:
        return self._world.module.IBuilderConfig()  # type: ignore[no-any-return]

    def build_serialized_network(self, network: _Network, config: _Config) -> Optional[_HostMemory]:
        world, behaviour = self._world, self._world.behaviour
        behaviour.builds += 1
        time.sleep(behaviour.build_seconds)
        explicit = world.number >= (10, 0) or network._flags & 1  # 1 << EXPLICIT_BATCH
        if network._graph is None or not explicit:
            world.say(
                self._logger, "ERROR", "4: [network.cpp::validate] Network must have at least one output"
            )
            return None
        if config._workspace > behaviour.most_workspace:
            world.say(self._logger, "ERROR", "2: [virtualMemoryBuffer] OutOfMemory: no sufficient workspace")
            return None
        precision = "int8" if "INT8" in config._flags else "fp16" if "FP16" in config._flags else "fp32"
        if config._device == "DLA":
            if config._core >= behaviour.dla_cores or not {"GPU_FALLBACK", "FP16"} <= config._flags:
                world.say(self._logger, "ERROR", "DLA: this network cannot run there alone")
                return None
            precision = "dla"
        if config._cache is not None:
            config._cache._data += b"tactics "
        head = json.dumps({"release": world.release, "sm": world.gpu.sm, "precision": precision}).encode(
            "ascii"
        )
        body = len(head).to_bytes(4, "big") + head + network._graph
        plan = MAGIC + hashlib.sha256(body).digest() + body
        return world.module.IHostMemory(plan)  # type: ignore[no-any-return]


class _Runtime:
    _world: _World

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._core = -1

    DLA_core = property(lambda self: self._core, lambda self, value: setattr(self, "_core", value))

    @property
    def num_DLA_cores(self) -> int:
        return self._world.behaviour.dla_cores

    def deserialize_cuda_engine(self, plan: bytes) -> Optional["_Engine"]:
        world = self._world
        world.gpu.require_context()
        digest, body = plan[len(MAGIC) : len(MAGIC) + 32], plan[len(MAGIC) + 32 :]
        if not plan.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
            world.say(
                self._logger, "ERROR", "1: [stdArchiveReader.cpp] Serialization assertion magicTagRead failed"
            )
            return None
        size = int.from_bytes(body[:4], "big")
        head = json.loads(body[4 : 4 + size].decode("ascii"))
        if (head["release"], tuple(head["sm"])) != (world.release, tuple(world.gpu.sm)):
            world.say(
                self._logger,
                "ERROR",
                "6: The engine plan file is not compatible with this version of TensorRT",
            )
            return None
        if head["precision"] == "dla" and self._core < 0:
            world.say(self._logger, "ERROR", "3: [runtime.cpp] a DLA engine needs a DLA core")
            return None
        return world.module.ICudaEngine(head["precision"], body[4 + size :])  # type: ignore[no-any-return]


class _Engine:
    _world: _World

    def __init__(self, precision: str, graph: bytes) -> None:
        self._precision = precision
        self._session = _session(graph)
        self._inputs = self._session.get_inputs()
        self._outputs = self._session.get_outputs()
        self._all = [entry.name for entry in self._inputs + self._outputs]

    @property
    def num_bindings(self) -> int:
        return len(self._all)

    num_io_tensors = num_bindings

    def get_binding_name(self, index: int) -> str:
        return self._all[index]  # type: ignore[no-any-return]

    get_tensor_name = get_binding_name

    def get_binding_index(self, name: str) -> int:
        return self._all.index(name) if name in self._all else -1

    def binding_is_input(self, key: Any) -> bool:
        return self._entry(key) in self._inputs

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._world.module.TensorIOMode
        return modes.INPUT if self._entry(name) in self._inputs else modes.OUTPUT

    def get_binding_shape(self, key: Any) -> Tuple[int, ...]:
        return tuple(self._entry(key).shape)

    get_tensor_shape = get_binding_shape

    def get_binding_dtype(self, key: Any) -> Any:
        return getattr(self._world.module.DataType, _ORT[self._entry(key).type])

    get_tensor_dtype = get_binding_dtype

    @property
    def device_memory_size(self) -> int:
        return SCRATCH

    device_memory_size_v2 = device_memory_size

    def create_execution_context_without_device_memory(self) -> "_Context":
        self._world.gpu.require_context()
        return self._world.module.IExecutionContext(self)  # type: ignore[no-any-return]

    def create_execution_context(self, strategy: Any = None) -> "_Context":
        self._world.gpu.require_context()
        context: _Context = self._world.module.IExecutionContext(self)
        if strategy is None or strategy.name != "USER_MANAGED":
            context._scratch = None
        return context

    def _entry(self, key: Any) -> Any:
        name = self._all[key] if isinstance(key, int) else key
        return next(entry for entry in self._inputs + self._outputs if entry.name == name)


class _Context:
    _world: _World

    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._scratch: Optional[int] = 0  # None: the context's own
        self._addresses: Dict[str, int] = {}

    device_memory = property(
        lambda self: self._scratch, lambda self, value: setattr(self, "_scratch", int(value))
    )

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= SCRATCH
        self._scratch = int(memory)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._all or not isinstance(memory, int):
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v2(self, bindings: List[int], stream_handle: int) -> bool:
        return self._enqueue(dict(zip(self._engine._all, bindings)), stream_handle)

    def execute_async_v3(self, stream_handle: int) -> bool:
        return self._enqueue(dict(self._addresses), stream_handle)

    def _enqueue(self, addresses: Dict[str, int], handle: int) -> bool:
        world = self._world
        gpu, engine, scratch = world.gpu, self._engine, self._scratch
        gpu.require_context()
        if world.behaviour.fails or len(addresses) != len(engine._all) or scratch == 0:
            return False
        gpu.launches += 1
        if world.behaviour.hollow:
            return True

        def work() -> None:
            if scratch is not None:
                gpu.require_memory(scratch, SCRATCH, "the engine's scratch memory")
                ctypes.memset(scratch, GARBAGE, SCRATCH)
            feeds = {entry.name: _view(gpu, addresses[entry.name], entry) for entry in engine._inputs}
            results = engine._session.run([entry.name for entry in engine._outputs], feeds)
            for entry, result in zip(engine._outputs, results):
                if engine._precision in ("fp16", "dla"):
                    result = result.astype(np.float16).astype(result.dtype) * (
                        np.inf if world.behaviour.half_overflows else 1
                    )
                _view(gpu, addresses[entry.name], entry)[...] = result
            time.sleep(world.behaviour.seconds.get(engine._precision, 0.0))

        gpu.streams[handle].enqueue(work)
        return True


def _view(gpu: Gpu, address: int, entry: Any) -> np.ndarray:
    """The device's memory at ``address`` as the array of a graph's input or output."""
    dtype = np.dtype(_NUMPY[_ORT[entry.type]])
    size = int(np.prod(entry.shape)) * dtype.itemsize
    gpu.require_memory(address, size, entry.name)
    memory = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(entry.shape)


def _session(graph: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


_ENUMERATIONS = (
    "BuilderFlag", "DataType", "TensorIOMode", "MemoryPoolType", "NetworkDefinitionCreationFlag", "DeviceType",
    "ExecutionContextAllocationStrategy", "ProfilingVerbosity", "TensorLocation", "LayerInformationFormat",
)  # fmt: skip
_CLASSES = {
    "ILogger": _ILogger, "IHostMemory": _HostMemory, "INetworkDefinition": _Network, "ParserError": _ParserError,
    "OnnxParser": _Parser, "ITimingCache": _TimingCache, "IBuilderConfig": _Config, "Builder": _Builder, "Runtime": _Runtime,
    "ICudaEngine": _Engine, "IExecutionContext": _Context,
}  # fmt: skip
