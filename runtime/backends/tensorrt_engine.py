"""One engine, whatever TensorRT's release calls things: bindings by number up to 8.4, tensors by name from 8.5 on."""

from abc import ABC, abstractmethod
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.errors import BackendError
from edgekit.runtime.backends.tensorrt_library import DLA_CORE, Library

FIRST_WITH_TENSORS = (8, 5)
# From here on a context is created by strategy, and is told the size of the memory that it is lent.
FIRST_WITH_STRATEGIES = (10, 0)


class Tensor(NamedTuple):
    """An input or output of an engine."""

    name: str
    shape: Tuple[int, ...]
    dtype: np.dtype
    is_input: bool


class Engine(ABC):
    """A deserialised engine and its execution context, which has no memory of its own for what happens between layers.

    Attributes:
        tensors: its inputs and outputs, in the order of `bind`'s addresses.
        scratch_bytes: memory that it must be lent before it runs.
    """

    tensors: Tuple[Tensor, ...]
    scratch_bytes: int

    @abstractmethod
    def lend(self, address: int, size: int) -> None:
        """Use the ``size`` bytes at ``address`` between layers; other engines may, whenever this one does not run."""

    @abstractmethod
    def launch(self, addresses: Sequence[int], stream: int) -> bool:
        """Begin to execute on ``stream``, with every tensor at its address; False if TensorRT refuses."""


def open_engine(library: Library, plan: bytes, source: str) -> Engine:
    """Deserialise a plan.

    Raises:
        BackendError: it is damaged, of another TensorRT or another GPU, or does not fit into the memory.
    """
    trt = library.trt
    runtime = trt.Runtime(library.log)
    if runtime.num_DLA_cores > 0:
        runtime.DLA_core = DLA_CORE  # from 8.5 on none is the default
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(
            f"{source}: TensorRT {library.version} does not load this engine: {library.said()};"
            " `edgekit build` makes a new one"
        )
    kind = _TensorEngine if library.number >= FIRST_WITH_TENSORS else _BindingEngine
    return kind(library, runtime, engine, source)


class _BindingEngine(Engine):
    """TensorRT 8.2 to 8.4."""

    def __init__(self, library: Library, runtime: Any, engine: Any, source: str) -> None:
        self._runtime = runtime  # must outlive the engine
        self._engine = engine
        self.tensors = tuple(
            Tensor(
                engine.get_binding_name(index),
                tuple(engine.get_binding_shape(index)),
                _dtype(library.trt, engine.get_binding_dtype(index), source),
                engine.binding_is_input(index),
            )
            for index in range(engine.num_bindings)
        )
        self.scratch_bytes = int(engine.device_memory_size)
        self._context = _opened(library, engine.create_execution_context_without_device_memory(), source)

    def lend(self, address: int, size: int) -> None:
        self._context.device_memory = address

    def launch(self, addresses: Sequence[int], stream: int) -> bool:
        return bool(self._context.execute_async_v2(list(addresses), stream))


class _TensorEngine(Engine):
    """TensorRT 8.5 and newer."""

    def __init__(self, library: Library, runtime: Any, engine: Any, source: str) -> None:
        trt = library.trt
        self._runtime = runtime  # must outlive the engine
        self._engine = engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.tensors = tuple(
            Tensor(
                name,
                tuple(engine.get_tensor_shape(name)),
                _dtype(trt, engine.get_tensor_dtype(name), source),
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            )
            for name in names
        )
        self._by_strategy = library.number >= FIRST_WITH_STRATEGIES
        if self._by_strategy:
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            size = getattr(engine, "device_memory_size_v2", None)  # 10.0 has the older name only
            self.scratch_bytes = int(engine.device_memory_size if size is None else size)
        else:
            context = engine.create_execution_context_without_device_memory()
            self.scratch_bytes = int(engine.device_memory_size)
        self._context = _opened(library, context, source)
        self._bound: Optional[List[int]] = None

    def lend(self, address: int, size: int) -> None:
        if self._by_strategy and hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(address, size)
        else:
            self._context.device_memory = address

    def launch(self, addresses: Sequence[int], stream: int) -> bool:
        if addresses != self._bound:
            for tensor, address in zip(self.tensors, addresses):
                if not self._context.set_tensor_address(tensor.name, address):
                    return False
            self._bound = list(addresses)
        return bool(self._context.execute_async_v3(stream))


def _opened(library: Library, context: Any, source: str) -> Any:
    if context is None:
        raise BackendError(
            f"{source}: TensorRT {library.version} cannot prepare this engine: {library.said()}"
        )
    return context


# TensorRT's own `nptype` fails with a numpy that has no numpy.bool.
_NUMPY = {
    "FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "INT8": "int8", "UINT8": "uint8", "BOOL": "bool",
}  # fmt: skip


def _dtype(trt: Any, found: Any, source: str) -> np.dtype:
    known: Dict[Any, str] = {
        getattr(trt.DataType, name): ours for name, ours in _NUMPY.items() if hasattr(trt.DataType, name)
    }
    if found not in known:
        raise BackendError(f"{source}: a tensor has the type {found}, which numpy has not")
    return np.dtype(known[found])
