"""A double of `pycuda.driver` for tests: memory is the host's, work waits on its stream, and what CUDA forbids is an error.

No GPU and no figure comes from it. It is stricter than a GPU: a stream runs nothing before somebody synchronises with it, so
that whoever forgets to wait reads garbage; new memory holds garbage; every call wants a context on the calling thread; a
copy or an engine may only touch memory that was allocated, and that the device can reach.

The names are those of PyCUDA 2019.1 to 2024.1 (src/wrapper/wrap_cudadrv.cpp and pycuda/driver.py of inducer/pycuda).
"""

import ctypes
import sys
import threading
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

GARBAGE = 0xA5
MAP_HOST, DEVICEMAP = 8, 2  # CU_CTX_MAP_HOST, CU_MEMHOSTALLOC_DEVICEMAP


class Error(Exception):
    """As `pycuda.driver.Error`."""


class LogicError(Error):
    """The caller's mistake."""


class CudaRuntimeError(Error):
    """As `pycuda.driver.RuntimeError`: no device."""


class CudaMemoryError(Error, MemoryError):
    """As `pycuda.driver.MemoryError`."""


class Gpu:
    """What there is, and what has been asked of it.

    Attributes:
        sm, name, integrated, memory: of the device; ``devices`` 0 is a machine without one.
        live: device-reachable allocations by address: their size.
        copies: bytes copied ("htod", "dtoh"), in order.
        launches: how many pieces of work were enqueued by engines.
    """

    def __init__(
        self,
        sm: Tuple[int, int] = (6, 2),
        name: str = "NVIDIA Tegra X2",
        integrated: bool = True,
        memory: int = 1 << 30,
        devices: int = 1,
        cuda: Tuple[int, int, int] = (10, 2, 0),
    ) -> None:
        self.sm = sm
        self.name = name
        self.integrated = integrated
        self.memory = memory
        self.devices = devices
        self.cuda = cuda
        self.live: Dict[int, int] = {}
        self.copies: List[Tuple[str, int]] = []
        self.launches = 0
        self.contexts = 0
        self.streams: Dict[int, Stream] = {}
        self.current = threading.local()

    def stack(self) -> List["Context"]:
        """The contexts of this thread, the current one last."""
        if not hasattr(self.current, "stack"):
            self.current.stack = []
        found: List[Context] = self.current.stack
        return found

    def require_context(self) -> None:
        if not self.stack():
            raise LogicError("invalid device context: no context is current on this thread")

    def require_memory(self, address: int, size: int, what: str) -> None:
        """That the device may touch ``size`` bytes at ``address``."""
        for begin, length in self.live.items():
            if begin <= address and address + size <= begin + length:
                return
        raise LogicError(f"{what}: {size} bytes at {address:#x} are no memory that the device can reach")

    def add(self, address: int, size: int) -> None:
        if sum(self.live.values()) + size > self.memory:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        self.live[address] = size


class Context:
    """As `pycuda.driver.Context`."""

    gpu: Gpu

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        gpu.contexts += 1
        gpu.stack().append(self)

    def push(self) -> None:
        self.gpu.stack().append(self)

    def detach(self) -> None:
        raise AssertionError("what lies in page-locked memory, and may still be held, would be gone")

    def __del__(self) -> None:
        self.gpu.contexts -= 1


class DeviceAllocation:
    """As `pycuda.driver.DeviceAllocation`: an address on the device."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        gpu.require_context()
        self._gpu: Optional[Gpu] = gpu
        self._memory = np.full(max(size, 1), GARBAGE, np.uint8)
        gpu.add(self._memory.ctypes.data, size)

    def __int__(self) -> int:
        return int(self._memory.ctypes.data)

    def free(self) -> None:
        if self._gpu is None:
            raise LogicError("cuMemFree: freed twice")
        self._gpu.require_context()
        del self._gpu.live[int(self)]
        self._gpu = None


class PagelockedHostAllocation:
    """As `pycuda.driver.PagelockedHostAllocation`: what is behind a page-locked array."""

    def __init__(self, gpu: Gpu, size: int, flags: int) -> None:
        gpu.require_context()
        self._ward = gpu.stack()[-1]  # lives as long as this
        self._memory = np.full(max(size, 1), GARBAGE, np.uint8)
        self._address = int(self._memory.ctypes.data)
        self._flags = flags
        self._gpu = gpu
        if flags & DEVICEMAP:
            gpu.add(self._address, size)

    def get_device_pointer(self) -> int:
        if not self._flags & DEVICEMAP:
            raise LogicError("cuMemHostGetDevicePointer failed: not mapped")
        return self._address

    def __del__(self) -> None:
        self._gpu.live.pop(self._address, None)


class Stream:
    """As `pycuda.driver.Stream`; work waits until somebody synchronises."""

    def __init__(self, gpu: Gpu) -> None:
        gpu.require_context()
        self._gpu = gpu
        self._work: List[Callable[[], None]] = []
        self._failed: Optional[Exception] = None
        self.handle = id(self)
        gpu.streams[self.handle] = self

    def enqueue(self, work: Callable[[], None]) -> None:
        """For the doubles: do ``work`` when its turn comes."""
        self._work.append(work)

    def synchronize(self) -> None:
        self._gpu.require_context()
        work, self._work = self._work, []
        for piece in work:
            piece()

    def is_done(self) -> bool:
        return not self._work


class _Flags(int):
    """A member of a Boost.Python enumeration: an int with a name."""

    @classmethod
    def of(cls, **members: int) -> Any:
        return type("flags", (), {name: cls(value) for name, value in members.items()})


def driver(gpu: Gpu) -> ModuleType:
    """The module `pycuda.driver` on ``gpu``."""
    module = ModuleType("pycuda.driver")
    started: List[bool] = []

    def init(flags: int = 0) -> None:
        if not gpu.devices:
            raise CudaRuntimeError("cuInit failed: no CUDA-capable device is detected")
        started.append(True)

    class device_attribute:
        INTEGRATED, CAN_MAP_HOST_MEMORY = "INTEGRATED", "CAN_MAP_HOST_MEMORY"

    class Device:
        def __init__(self, number: int) -> None:
            if not started:
                raise LogicError("cuDeviceGet failed: initialization error")
            if number >= gpu.devices:
                raise LogicError("cuDeviceGet failed: invalid device ordinal")

        @staticmethod
        def count() -> int:
            return gpu.devices

        def name(self) -> str:
            return gpu.name

        def compute_capability(self) -> Tuple[int, int]:
            return gpu.sm

        def get_attribute(self, name: str) -> int:
            return {"INTEGRATED": int(gpu.integrated), "CAN_MAP_HOST_MEMORY": 1}[name]

        def total_memory(self) -> int:
            return gpu.memory

        def make_context(self, flags: int = 0) -> Context:
            return Context(gpu)

    def pop() -> None:
        stack = gpu.stack()
        if not stack:
            raise LogicError("cuCtxPopCurrent failed: invalid device context")
        stack.pop()

    def mem_get_info() -> Tuple[int, int]:
        gpu.require_context()
        return gpu.memory - sum(gpu.live.values()), gpu.memory

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        owner = PagelockedHostAllocation(gpu, size, mem_flags)
        owner.__array_interface__ = {  # type: ignore[attr-defined]
            "data": (owner._memory.ctypes.data, False), "shape": tuple(shape), "typestr": np.dtype(dtype).str, "version": 3,
        }  # fmt: skip
        array = np.asarray(owner)
        assert array.base is owner
        return array

    def memcpy_htod_async(dest: Any, src: np.ndarray, stream: Optional[Stream] = None) -> None:
        gpu.require_context()
        assert stream is not None, "the double knows no default stream"
        if not src.flags.c_contiguous:
            raise ValueError("ndarray is not contiguous")
        address, source = int(dest), src

        def copy() -> None:
            gpu.require_memory(address, source.nbytes, "cuMemcpyHtoDAsync")
            ctypes.memmove(address, source.ctypes.data, source.nbytes)

        gpu.copies.append(("htod", src.nbytes))
        stream.enqueue(copy)

    def memcpy_dtoh_async(dest: np.ndarray, src: Any, stream: Optional[Stream] = None) -> None:
        gpu.require_context()
        assert stream is not None, "the double knows no default stream"
        address, target = int(src), dest
        if not (dest.flags.c_contiguous and dest.flags.writeable):
            raise ValueError("ndarray is not contiguous")

        def copy() -> None:
            gpu.require_memory(address, target.nbytes, "cuMemcpyDtoHAsync")
            ctypes.memmove(target.ctypes.data, address, target.nbytes)

        gpu.copies.append(("dtoh", dest.nbytes))
        stream.enqueue(copy)

    names: Dict[str, object] = {
        "init": init, "Device": Device, "device_attribute": device_attribute,
        "Context": type("Context", (Context,), {"pop": staticmethod(pop)}),
        "Stream": lambda flags=0: Stream(gpu), "DeviceAllocation": DeviceAllocation,
        "mem_alloc": lambda size: DeviceAllocation(gpu, size), "mem_get_info": mem_get_info,
        "pagelocked_empty": pagelocked_empty, "memcpy_htod_async": memcpy_htod_async,
        "memcpy_dtoh_async": memcpy_dtoh_async,
        "ctx_flags": _Flags.of(SCHED_AUTO=0, SCHED_SPIN=1, SCHED_YIELD=2, SCHED_BLOCKING_SYNC=4, MAP_HOST=MAP_HOST),
        "host_alloc_flags": _Flags.of(PORTABLE=1, DEVICEMAP=DEVICEMAP, WRITECOMBINED=4),
        "get_version": lambda: gpu.cuda, "get_driver_version": lambda: gpu.cuda[0] * 1000 + gpu.cuda[1] * 10,
        "Error": Error, "LogicError": LogicError, "MemoryError": CudaMemoryError, "RuntimeError": CudaRuntimeError,
    }  # fmt: skip
    for name, value in names.items():
        setattr(module, name, value)
    return module


def install(gpu: Gpu, modules: Optional[Dict[str, Any]] = None) -> ModuleType:
    """Put the double where ``import pycuda.driver`` finds it."""
    modules = sys.modules if modules is None else modules  # type: ignore[assignment]
    package, found = ModuleType("pycuda"), driver(gpu)
    package.__path__ = []  # type: ignore[attr-defined]
    package.driver = found  # type: ignore[attr-defined]
    package.VERSION_TEXT = "2019.1.2"  # type: ignore[attr-defined]
    assert modules is not None
    modules["pycuda"], modules["pycuda.driver"] = package, found
    return found
