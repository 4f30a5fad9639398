"""Stages on edgekit's own kernels, for processors: programs that `export` wrote, run by C which the device's compiler built."""

import ctypes
import io
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from edgekit import archives
from edgekit.bundle import Bundle, StageSpec
from edgekit.errors import BackendError, BundleError, OptionError
from edgekit.kernels import SPINS, Handle, Kernels
from edgekit.kernels.arenas import Arena, Home
from edgekit.program import decode
from edgekit.runtime.backends.base import (
    Backend,
    Frame,
    Loaded,
    StageCancelled,
    check_tensors,
    check_threads,
)
from edgekit.runtime.backends.cores import CallersCore, cores_to_keep_to
from edgekit.runtime.device.fingerprint import Fingerprint
from edgekit.runtime.device.system import usable_cores


def open_backend(providers: Optional[Sequence[str]], threads: Optional[int], spin: bool = True) -> "Native":
    """Find the C compiler, build the kernels where that was not done before, and check the options.

    Raises:
        BackendError: there is no compiler, or it cannot build them.
        OptionError: ``providers`` are given, or ``threads`` is no positive number.
    """
    if providers is not None:
        raise OptionError(
            f'providers={providers!r}: native has none; it is an option of backend="onnxruntime"'
        )
    check_threads(threads)
    return Native(threads or usable_cores(), spin)


class Native(Backend):
    """One program a stage, and one pool of threads for all of them, which is made with the first stage that is loaded."""

    name = "native"

    def __init__(self, threads: int, spin: bool) -> None:
        cores = cores_to_keep_to(threads)
        self.kernels = Kernels(threads, SPINS if spin else 0, cores)
        self._callers_core = CallersCore(cores[0]) if cores else None
        self.version = self.kernels.version
        self.settings = {"threads": threads, "compiler": self.kernels.compiler, "flags": self.kernels.flags}
        self.stages: Loaded[Handle] = Loaded()
        self._homes: Dict[Tuple[str, str], Home] = {}  # by layouts and tensors

    def let_move(self) -> None:
        """See `Backend.let_move`."""
        self.kernels.cores, self._callers_core = [], None

    def step_aside(self) -> None:
        """Leave the cores of the kernels' threads; see `CallersCore`."""
        if self._callers_core is not None:
            self._callers_core.take()

    def read(
        self, bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str
    ) -> Tuple[bytes, str]:
        """See `Backend.read`."""
        chosen = next(one for one in stage.variants if one.name == variant)
        if chosen.runtime != self.name:
            there = ", ".join(one.name for one in stage.variants)
            raise BackendError(
                f"{bundle.path}: {stage.name} has no program for native, only graphs ({there}); export the bundle again for a"
                ' target without a GPU, such as cpu, or take backend="onnxruntime"'
            )
        return super().read(bundle, fingerprint, stage, variant)

    def load(self, stage: StageSpec, graph: bytes, source: str) -> None:
        """See `Backend.load`.

        Raises:
            BundleError: the program is damaged, or would read or write where it must not.
            BackendError: it is not the manifest's, or there is no memory for it.
        """
        absurd = archives.too_large(io.BytesIO(graph), len(graph))
        if absurd is not None:
            raise BundleError(f"{source}: refused, {absurd}")
        program = decode(graph, source)
        check_tensors(stage, program.inputs, program.outputs, source)
        if any(spec.dtype != "float32" for spec in stage.outputs):
            raise BackendError(
                f"{source}: native writes float32, the manifest says otherwise of {stage.name}'s outputs"
            )
        shapes = {spec.name: spec.shape for spec in stage.outputs}
        handle = self.kernels.load(program, [shapes[name] for name in program.outputs], source)
        for name, home in handle.homes.items():
            known = self._homes.setdefault((handle.layout, name), home)
            if known.resident[:5] != home.resident[:5] or not np.array_equal(known.planes, home.planes):
                raise BundleError(
                    f"{source}: has {name} elsewhere than another stage of its layout; export the bundle again"
                )
        self.stages[stage.name] = handle

    def start(self, inputs: Mapping[str, np.ndarray]) -> "NativeFrame":
        """See `Backend.start`."""
        return NativeFrame(self, inputs)

    def close(self) -> None:
        """See `Backend.close`: after the run that is under way."""
        self.stages.clear()
        self.kernels.close()


class NativeFrame(Frame):
    """A frame whose tensors are arrays, those it was given and new ones that stages write, or stay in an arena of its own."""

    def __init__(self, backend: Native, inputs: Mapping[str, np.ndarray]) -> None:
        self._arenas: Dict[str, Arena] = {}  # by their layouts
        self._staying: Dict[str, Home] = {}  # the tensors that are there
        self._gone: Set[str] = set()  # those that were
        self._backend = backend
        self._tensors = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._cancel = ctypes.c_int(0)  # which the kernels look at

    def run(self, stage: str) -> None:
        """See `Frame.run`."""
        if self._cancel.value:
            raise StageCancelled(f"{stage} was cancelled before it began")
        handle = self._backend.stages[stage]
        arena = self._arena(handle) if handle.homes else None
        given: List[Optional[np.ndarray]] = [None] * len(handle.reads)
        for number, name, _ in handle.inputs:
            given[number] = self._tensors[name]
        self._backend.step_aside()
        for name in handle.overwritten:
            if self._staying.pop(name, None) is not None:
                self._gone.add(name)
        try:
            written = self._backend.kernels.run(handle, given, self._cancel, arena)
        except BackendError as error:
            raise BackendError(f"{stage} failed: {error}") from error
        if written is None:
            raise StageCancelled(f"{stage} was cancelled")
        self._staying.update(handle.left)
        for number, name, _ in handle.outputs:
            array = written[number]
            assert array is not None
            self._tensors[name] = array

    def _arena(self, handle: Handle) -> Arena:
        """The one that a program runs on, with what it needs there."""
        arena = self._arenas.get(handle.layout)
        if arena is None:
            arena = self._arenas[handle.layout] = self._backend.kernels.arenas.lend(
                handle.layout, handle.floats
            )
        for name in handle.needed:
            if name not in self._staying:
                home = handle.homes[name]
                arena.put(home, self._given(name, home))
                self._staying[name] = home
        return arena

    def _given(self, name: str, home: Home) -> np.ndarray:
        array = self._tensors.get(name)
        if array is None:
            raise _gone(name)
        shape = home.resident[1:4]
        if array.dtype != np.float32 or array.shape != (1, *shape):
            raise BackendError(
                "{} is read as 1 x {} x {} x {} float32, and is {} {}".format(
                    name, *shape, " x ".join(map(str, array.shape)), array.dtype
                )
            )
        return array

    def read(self, name: str) -> np.ndarray:
        """See `Frame.read`: the array that the stage wrote into, which no other frame has, or a copy of what stays in the arena."""
        home = self._staying.get(name)
        if home is not None:
            return self._arenas[home.layout].get(home)
        if name in self._gone and name not in self._tensors:
            raise _gone(name)
        return self._tensors[name]

    def cancel(self) -> None:
        """See `Frame.cancel`: the kernels stop between two pieces of some us."""
        self._cancel.value = 1

    def end(self) -> None:
        """See `Frame.end`: the next frame has its arena."""
        arenas, self._arenas = self._arenas, {}
        self._staying = {}
        for arena in arenas.values():
            self._backend.kernels.arenas.take_back(arena)

    def __del__(self) -> None:
        self.end()


def _gone(name: str) -> BackendError:
    return BackendError(f"{name} is not there any more: later stages have run in its place")
