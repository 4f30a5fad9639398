"""The GPU by PyCUDA, which JetPack's Python has from 3.6 on: one context, one stream, memory of its own or shared with it."""

import importlib
from types import TracebackType
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import numpy as np

from edgekit.errors import BackendError

# From this capability on (Xavier) the processor's caches see what the GPU does to page-locked memory, and hold it; on TX2 and
# Nano they do not, and every read of it by the processor goes to the memory itself (CUDA for Tegra, "I/O coherency").
FIRST_COHERENT = (7, 2)


class SharedArray(NamedTuple):
    """An array in page-locked memory, and the address under which the GPU reads and writes the same bytes."""

    array: np.ndarray
    address: int


class Cuda:
    """The first GPU of this machine. ``with cuda:`` around whatever it is asked, on any thread.

    Attributes:
        name: of the GPU.
        sm: compute capability, such as (6, 2).
        version: of CUDA, such as ``10.2``.
        integrated: it shares the processor's memory, as on every Jetson.
        cached: the processor's caches hold page-locked memory.
    """

    def __init__(self) -> None:
        """Open the GPU.

        Raises:
            BackendError: PyCUDA is not installed, or there is no GPU or driver.
        """
        self._driver = driver = _import()
        try:
            driver.init()
            device = driver.Device(0)
            self.sm: Tuple[int, int] = tuple(device.compute_capability())
            self.name = str(device.name())
            self.integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            self._context: Any = device.make_context(driver.ctx_flags.SCHED_AUTO | driver.ctx_flags.MAP_HOST)
        except driver.Error as error:
            raise BackendError(
                f'no GPU can be used: {error}; is NVIDIA\'s driver loaded? `backend="onnxruntime"` needs none'
            ) from error
        self.version = ".".join(str(part) for part in driver.get_version()[:2])
        self.cached = not self.integrated or self.sm >= FIRST_COHERENT
        self.out_of_memory: Type[BaseException] = driver.MemoryError
        self.error: Type[BaseException] = driver.Error
        self._stream = driver.Stream()
        self.stream: int = self._stream.handle
        self._allocations: Dict[int, Any] = {}
        self._uploading: List[np.ndarray] = []  # what the GPU may still read
        self._pop = driver.Context.pop
        self._pop()
        self._closed = False

    def __enter__(self) -> "Cuda":
        self._context.push()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._pop()

    def allocate(self, size: int) -> int:
        """The address of ``size`` new bytes of the GPU's own memory; they stay until `free` or `close`.

        Raises:
            BackendError: there are not so many.
        """
        try:
            allocation = self._driver.mem_alloc(max(size, 1))
        except self.out_of_memory as error:
            free, total = self.memory()
            raise BackendError(
                f"the GPU has no {size / 1e6:.1f} MB left ({free / 1e6:.0f} of {total / 1e6:.0f} MB free); close other programs"
            ) from error
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """Give back what `allocate` gave, once nothing uses it any more."""
        self._allocations.pop(address).free()

    def share(self, shape: Sequence[int], dtype: np.dtype) -> SharedArray:
        """A new zeroed array that processor and GPU both read and write; it stays as long as somebody holds it.

        Raises:
            BackendError: there is not enough memory.
        """
        try:
            flags = self._driver.host_alloc_flags.DEVICEMAP
            array = self._driver.pagelocked_empty(tuple(shape), dtype, mem_flags=flags)
        except self.out_of_memory as error:
            raise BackendError(f"no page-locked memory is left for an array of {tuple(shape)}") from error
        array[...] = 0
        return SharedArray(array, int(array.base.get_device_pointer()))

    def upload(self, array: np.ndarray, address: int) -> None:
        """Copy ``array``, which must stay as it is until `wait`, to the GPU's memory."""
        self._uploading.append(array)
        self._driver.memcpy_htod_async(address, array, self._stream)

    def download(self, address: int, array: np.ndarray) -> None:
        """Copy from the GPU's memory to ``array``; it is there after `wait`."""
        self._driver.memcpy_dtoh_async(array, address, self._stream)

    def wait(self) -> None:
        """Until everything that was asked of the GPU is done. Other threads run meanwhile."""
        self._stream.synchronize()
        if self._uploading:
            self._uploading = []

    def memory(self) -> Tuple[int, int]:
        """Bytes that are free, and bytes in all."""
        free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def close(self) -> None:
        """Give everything back but the arrays of `share` that somebody still holds; may be called twice."""
        if self._closed:
            return
        self._closed = True
        with self:
            self.wait()
            for allocation in self._allocations.values():
                allocation.free()
            del self._stream
        self._allocations = {}
        # Not detached: arrays that are held hold it too, and the last of them ends it.
        self._context = None


def _import() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as error:  # without the package, and without libcuda
        raise BackendError(
            f"TensorRT's memory needs PyCUDA, which cannot be imported ({error}): pip3 install pycuda, on the device itself"
        ) from error
