"""Stages as TensorRT engines, from the 8.2 of JetPack 4.6.1 on: they hand tensors to each other on the GPU.

All stages share one stream and one scratch memory, so one runs at a time. A stage that was launched cannot be cancelled: the
scheduler must not admit it.
"""

import os
import threading
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle, InputSpec, StageSpec
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.backends.base import Backend, Frame, Loaded, StageCancelled, check_tensors
from edgekit.runtime.backends.cuda import Cuda, SharedArray
from edgekit.runtime.backends.cuda_graph import CudaGraphs
from edgekit.runtime.backends.tensorrt_engine import Engine, open_engine
from edgekit.runtime.backends.tensorrt_library import Library
from edgekit.runtime.device.fingerprint import Fingerprint

Key = Tuple[
    str, Tuple[int, ...], str
]  # of a tensor: name, shape, dtype; networks of one bundle may share names
Addresses = Dict[Key, int]
# Off by default, because no GPU has run it: EDGEKIT_CUDA_GRAPHS=1 turns it on.
GRAPHS = "EDGEKIT_CUDA_GRAPHS"


class _Stage(NamedTuple):
    engine: Engine
    keys: Tuple[Key, ...]  # of its tensors, in the engine's order
    inputs: Tuple[Key, ...]


def open_backend(providers: Optional[Sequence[str]], threads: Optional[int], spin: bool = True) -> "TensorRT":
    """Import TensorRT and open the GPU.

    Raises:
        BackendError: TensorRT or PyCUDA is not installed, or there is no GPU.
        OptionError: an option is ONNX Runtime's.
    """
    refuse_options(providers, threads)
    return TensorRT(Library(), Cuda())


def refuse_options(providers: Optional[Sequence[str]], threads: Optional[int]) -> None:
    """Refuse what only ONNX Runtime has.

    Raises:
        OptionError: it was given.
    """
    for name, value in (("providers", providers), ("threads", threads)):
        if value is not None:
            raise OptionError(
                f'{name}={value!r}: TensorRT has none; it is an option of backend="onnxruntime"'
            )


class TensorRT(Backend):
    """One engine a stage; exits are copied to the processor when they are read.

    Attributes:
        library, cuda: what it stands on.
    """

    name = "tensorrt"
    cancels = False

    def __init__(self, library: Library, cuda: Cuda, owner: bool = True) -> None:
        """Take over ``cuda``, and close it at the end; without ``owner``, somebody else does."""
        self.library = library
        self._owner = owner
        self._allocated: List[int] = []
        self.cuda = cuda
        self.version = library.version
        self.precisions: Dict[str, str] = {}
        self.settings = {
            "gpu": cuda.name,
            "sm": ".".join(str(part) for part in cuda.sm),
            "cuda": cuda.version,
            "tensorrt": library.version,
            "inputs": "page-locked, mapped" if cuda.integrated else "copied",
            "precisions": self.precisions,
        }
        self._graphs: Optional[CudaGraphs] = None
        if os.environ.get(GRAPHS) == "1":
            self._graphs = CudaGraphs()
            self.settings["cuda_graphs"] = {"refused": self._graphs.refused}
        self.stages: Loaded[_Stage] = Loaded()
        self._views: Dict[int, SharedArray] = {}  # by the array's own address
        self._free: List[Addresses] = []
        self._placed: Dict[int, np.ndarray] = {}  # the array behind an address, where memory is shared
        self._scratch: Optional[Tuple[int, int]] = None
        self._guard = threading.Lock()
        self._closed = False

    def read(
        self, bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str
    ) -> Tuple[bytes, str]:
        """See `Backend.read`: the engine that was built for this device."""
        from edgekit.runtime.building.engines import read_engine

        plan, source, precision = read_engine(bundle, fingerprint, stage, variant)
        self.precisions[stage.name] = precision
        return plan, source

    def prepare(self, bundle: Bundle) -> None:
        """See `Backend.prepare`: build the engines that are missing."""
        from edgekit.runtime.building.plan import Options
        from edgekit.runtime.building.work import build_engines

        build_engines(bundle, self, Options())

    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        """See `Backend.load`; ``graph`` is a plan."""
        with self.cuda:
            engine = open_engine(self.library, graph, source)
            reads = [one.name for one in engine.tensors if one.is_input]
            writes = [one.name for one in engine.tensors if not one.is_input]
            check_tensors(stage, reads, writes, source)
            self._lend(engine)
        keys = tuple((one.name, one.shape, one.dtype.str) for one in engine.tensors)
        inputs = tuple(key for key, one in zip(keys, engine.tensors) if one.is_input)
        self.stages[stage.name] = _Stage(engine, keys, inputs)

    def input_view(self, spec: InputSpec) -> np.ndarray:
        """See `Backend.input_view`: page-locked memory, which the GPU of a Jetson reads where it is."""
        with self.cuda:
            shared = self.cuda.share(spec.shape, np.dtype(spec.dtype))
        self._views[shared.array.ctypes.data] = shared
        return shared.array

    def buffer(self, spec: InputSpec) -> np.ndarray:
        """See `Backend.buffer`: page-locked where the processor's caches hold that."""
        return self.input_view(spec) if self.cuda.cached else super().buffer(spec)

    def start(self, inputs: Mapping[str, np.ndarray]) -> "TensorRTFrame":
        """See `Backend.start`; nothing is copied before a stage reads it."""
        return TensorRTFrame(self, inputs)

    def close(self) -> None:
        """See `Backend.close`."""
        if not self._closed:
            self._closed = True
            with self.cuda:
                self.cuda.wait()
                if self._graphs is not None:
                    self._graphs.forget()
                self.stages.clear()
                for address in self._allocated:
                    self.cuda.free(address)
                if self._scratch is not None:
                    self.cuda.free(self._scratch[0])
            self._free, self._allocated, self._scratch = [], [], None
            self._placed.clear()
            self._views.clear()
            if self._owner:
                self.cuda.close()

    def launch(self, stage: str, loaded: _Stage, where: List[int]) -> bool:
        """Begin a stage with its tensors at these addresses; False if TensorRT refuses."""
        stream = self.cuda.stream
        if self._graphs is None:
            return loaded.engine.launch(where, stream)
        return self._graphs.launch(stage, tuple(where), stream, lambda: loaded.engine.launch(where, stream))

    def take(self) -> Addresses:
        """Addresses for the tensors of one frame, of which some may be missing yet; given back with `give`."""
        with self._guard:
            return self._free.pop() if self._free else {}

    def give(self, addresses: Addresses) -> None:
        """Take back a frame's addresses."""
        with self._guard:
            if not self._closed:
                self._free.append(addresses)

    def allocate(self, key: Key, given: bool) -> int:
        """Memory for a tensor; for a network input, ``given``, what the processor can write to where that is possible."""
        _, shape, dtype = key
        if given and self.cuda.integrated:
            shared = self.cuda.share(shape, np.dtype(dtype))
            self._placed[shared.address] = shared.array
            return shared.address
        address = self.cuda.allocate(_bytes(key))
        self._allocated.append(address)
        return address

    def place(self, key: Key, array: np.ndarray, address: int) -> int:
        """Bring an input to the GPU, and say where it is: where it was, if it is one of `input_view`'s arrays."""
        if self.cuda.integrated:
            view = self._views.get(array.ctypes.data)
            if view is not None and view.array.nbytes == array.nbytes == _bytes(key):
                return view.address
            np.copyto(self._placed[address], array)
        else:
            self.cuda.upload(np.ascontiguousarray(array, np.dtype(key[2])), address)
        return address

    def _lend(self, engine: Engine) -> None:
        """Lend ``engine`` the scratch memory, and all others a larger one if it needs that."""
        size, former = max(engine.scratch_bytes, 1), self._scratch
        if former is None or former[1] < size:
            if self._graphs is not None:
                self._graphs.forget()
            self._scratch = self.cuda.allocate(size), size
            for stage in self.stages.values():
                stage.engine.lend(*self._scratch)
            if former is not None:
                self.cuda.free(former[0])
        assert self._scratch is not None
        engine.lend(*self._scratch)


class TensorRTFrame(Frame):
    """A frame whose tensors lie on the GPU from its first stage on."""

    def __init__(self, backend: TensorRT, inputs: Mapping[str, np.ndarray]) -> None:
        self._backend = backend
        self._inputs = inputs
        self._waiting = set(inputs)  # not yet on the GPU
        self._own: Optional[Addresses] = None  # what was taken from the backend
        self._addresses: Addresses = {}  # where this frame's tensors are: there, or in arrays of the caller's
        self._known: Dict[str, Key] = {}
        self._cancelled = False

    def run(self, stage: str) -> None:
        """See `Frame.run`: returns when the results are there."""
        backend = self._backend
        loaded = backend.stages[stage]
        if self._cancelled:
            raise StageCancelled(f"{stage} was cancelled before it began")
        cuda = backend.cuda
        try:
            with cuda:
                try:
                    where = [self._addresses[key] for key in loaded.keys]
                except KeyError:
                    where = self._make_room(loaded)
                launched = backend.launch(stage, loaded, where)
                cuda.wait()
        except cuda.error as error:
            raise BackendError(f"{stage} failed on the GPU: {error}") from error
        if not launched:
            raise BackendError(f"{stage} failed in TensorRT {backend.version}: {backend.library.said()}")

    def cancel(self) -> None:
        """See `Frame.cancel`: no stage begins any more; one that was launched runs to its end."""
        self._cancelled = True

    def read(self, name: str) -> np.ndarray:
        """See `Frame.read`: a copy."""
        if name in self._waiting or name not in self._known:
            return self._inputs[name]
        key = self._known[name]
        array = np.empty(key[1], np.dtype(key[2]))
        cuda = self._backend.cuda
        with cuda:
            cuda.download(self._addresses[key], array)
            cuda.wait()
        return array

    def end(self) -> None:
        """See `Frame.end`."""
        own, self._own = self._own, None
        self._addresses = {}
        if own is not None:
            self._backend.give(own)

    def _make_room(self, loaded: _Stage) -> List[int]:
        """Memory for what ``loaded`` touches for the first time in this frame, with the inputs in it."""
        backend = self._backend
        if self._own is None:
            self._own = backend.take()
        for key in loaded.keys:
            name = key[0]
            self._known[name] = key
            if key not in self._own:
                self._own[key] = backend.allocate(key, name in self._inputs)
            if key not in self._addresses:
                address = self._own[key]
                if name in self._waiting and key in loaded.inputs:
                    address = backend.place(key, self._inputs[name], address)
                    self._waiting.discard(name)
                self._addresses[key] = address
        return [self._addresses[key] for key in loaded.keys]


def _bytes(key: Key) -> int:
    _, shape, dtype = key
    return int(np.prod(shape)) * np.dtype(dtype).itemsize
