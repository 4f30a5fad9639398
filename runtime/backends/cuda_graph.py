"""What a stage launches, recorded once and launched as one: CUDA graphs by the driver's own library, for PyCUDA has none.

Unmeasured: no GPU has run this. Nothing depends on it: a stage that cannot be recorded is launched as ever, and it is said why.
"""

import ctypes
from typing import Any, Callable, Dict, Hashable, Optional, Set

from edgekit.errors import BackendError

LIBRARY = "libcuda.so.1"
THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
MOST = 16  # recordings that are kept: a frame's tensors come from a small pool, so its addresses come again


class CudaGraphs:
    """Recordings of launches, by whatever tells them apart: the stage, and where its tensors are.

    The context must be current in every call.

    Attributes:
        refused: stages that are launched one kernel at a time, and why.
    """

    def __init__(self, driver: Optional[Any] = None) -> None:
        """Open the driver's library, or take ``driver``.

        Raises:
            BackendError: it is not there, or older than CUDA 10.1.
        """
        self.refused: Dict[str, str] = {}
        self._seen: Set[Hashable] = set()
        self._ready: Dict[Hashable, ctypes.c_void_p] = {}
        try:
            self._driver = ctypes.CDLL(LIBRARY) if driver is None else driver
            for name in (
                "cuStreamBeginCapture_v2",
                "cuStreamEndCapture",
                "cuGraphLaunch",
                "cuGraphExecDestroy",
            ):
                getattr(self._driver, name)
        except (OSError, AttributeError) as error:
            raise BackendError(f"CUDA graphs cannot be had: {error}; launch without them") from error
        # With flags from CUDA 11.4 on; before, with room for a message.
        self._flagged = hasattr(self._driver, "cuGraphInstantiateWithFlags")

    def launch(self, stage: str, where: Hashable, stream: int, enqueue: Callable[[], bool]) -> bool:
        """Begin what ``enqueue`` begins on ``stream``; False where that says so.

        The first time it is enqueued as it is, which is the warm-up that TensorRT asks for; the second time it is recorded.
        """
        key = (stage, where)
        ready = self._ready.get(key)
        if ready is None and (stage in self.refused or key not in self._seen):
            self._seen.add(key)
            return enqueue()
        if ready is None:
            ready = self._recorded(stage, stream, enqueue)
            if ready is None:
                return enqueue()
            if len(self._ready) >= MOST:
                self._destroy(self._ready.pop(next(iter(self._ready))))
            self._ready[key] = ready
        failed = self._call("cuGraphLaunch", ready, ctypes.c_void_p(stream))
        if failed is not None:
            self.refused[stage] = failed
            self._destroy(self._ready.pop(key))
            return enqueue()
        return True

    def forget(self) -> None:
        """Give every recording back: what it was recorded with has moved, or this is the end."""
        for ready in self._ready.values():
            self._destroy(ready)
        self._ready.clear()
        self._seen.clear()

    def _recorded(self, stage: str, stream: int, enqueue: Callable[[], bool]) -> Optional[ctypes.c_void_p]:
        """What ``enqueue`` does, ready to be launched; None where it cannot be recorded."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        failed = self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), THREAD_LOCAL)
        if failed is None:
            enqueued = enqueue()  # must be followed by the end, or the stream stays unusable
            failed = self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
            if failed is None and not enqueued:
                failed = "TensorRT did not let itself be recorded"
        if failed is None:
            if self._flagged:
                failed = self._call(
                    "cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_ulonglong(0)
                )
            else:
                failed = self._call(
                    "cuGraphInstantiate", ctypes.byref(ready), graph, None, None, ctypes.c_size_t(0)
                )
        if graph.value:
            self._call("cuGraphDestroy", graph)
        if failed is not None:
            self.refused[stage] = failed
            return None
        return ready

    def _destroy(self, ready: ctypes.c_void_p) -> None:
        self._call("cuGraphExecDestroy", ready)

    def _call(self, name: str, *arguments: object) -> Optional[str]:
        """None if it went well, else what to tell."""
        code = int(getattr(self._driver, name)(*arguments))
        return None if code == 0 else f"{name} failed with CUDA's error {code}"
