"""Stages on edgekit's own kernels, for processors: programs that `export` wrote, run by C which the device's compiler built."""

import ctypes
import io
import os
import threading
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit import archives
from edgekit.bundle import Bundle, StageSpec
from edgekit.errors import BackendError, BundleError, OptionError
from edgekit.program import Program, decode
from edgekit.runtime.backends.base import (
    Backend,
    Frame,
    Loaded,
    StageCancelled,
    check_tensors,
    check_threads,
)
from edgekit.runtime.backends.native.checking import Shape, check_program, shapes_of_inputs
from edgekit.runtime.backends.native.compiling import find_compiler, load_kernels, version
from edgekit.runtime.device.fingerprint import Fingerprint
from edgekit.runtime.device.system import usable_cores

ALIGNED = 64  # bytes: what the kernels' constants begin at
# How often a thread looks for the next run before it sleeps: some 50 us, about what waking it would cost.
SPINS = 3000


class _Stage(NamedTuple):
    program: ctypes.c_void_p
    inputs: Tuple[Tuple[str, Optional[Shape]], ...]  # None: it is not read
    outputs: Tuple[Tuple[str, Tuple[int, ...]], ...]


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
        compiler = find_compiler()
        self._kernels, flags = load_kernels(compiler)
        self.version = f"{version()} {compiler.name}"
        self.settings = {"threads": threads, "compiler": " ".join(compiler.command), "flags": " ".join(flags)}
        self._threads, self._spins = threads, SPINS if spin else 0
        self._machine: Optional[_Machine] = None
        self.turn = threading.Lock()  # a machine has one run at a time
        self.stages: Loaded[_Stage] = Loaded()

    def read(
        self, bundle: Bundle, fingerprint: Fingerprint, stage: StageSpec, variant: str
    ) -> Tuple[bytes, str]:
        """See `Backend.read`."""
        chosen = next(one for one in stage.variants if one.name == variant)
        if chosen.runtime != self.name:
            there = ", ".join(one.name for one in stage.variants)
            raise BackendError(
                f"{bundle.path}: {stage.name} has no program for native, only graphs ({there}); export the bundle again for a target"
                ' without a GPU, such as cpu, or take backend="onnxruntime"'
            )
        return bundle.read_bytes(chosen.graph), os.path.join(bundle.path, *chosen.graph.split("/"))

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
        shapes = {spec.name: spec.shape for spec in stage.outputs}
        check_program(program, [shapes[name] for name in program.outputs], source)
        if any(spec.dtype != "float32" for spec in stage.outputs):
            raise BackendError(
                f"{source}: native writes float32, the manifest says otherwise of {stage.name}'s outputs"
            )
        with self.turn:
            if self._machine is None:
                self._machine = _Machine(self._kernels, self._threads, self._spins)
            pointer = self._machine.add(program, source)
            self.stages[stage.name] = _Stage(
                pointer,
                tuple(zip(program.inputs, shapes_of_inputs(program))),
                tuple((name, shapes[name]) for name in program.outputs),
            )

    def start(self, inputs: Mapping[str, np.ndarray]) -> "NativeFrame":
        """See `Backend.start`."""
        return NativeFrame(self, inputs)

    def execute(
        self, stage: str, tensors: Mapping[str, np.ndarray], cancel: ctypes.c_int
    ) -> Optional[Dict[str, np.ndarray]]:
        """What ``stage`` makes of ``tensors``; None where ``cancel`` has become 1.

        Raises:
            BackendError: it is not loaded, or a tensor is not what its program reads.
        """
        with self.turn:
            loaded = self.stages[stage]
            given = [_readable(stage, name, tensors[name], shape) for name, shape in loaded.inputs]
            written = {name: np.empty(shape, np.float32) for name, shape in loaded.outputs}
            assert self._machine is not None
            finished = self._machine.run(loaded.program, given, list(written.values()), cancel)
        return written if finished else None

    def close(self) -> None:
        """See `Backend.close`: after the run that is under way."""
        with self.turn:
            self.stages.clear()
            if self._machine is not None:
                self._machine.free()
            self._machine = None


class NativeFrame(Frame):
    """A frame whose tensors are arrays: those it was given, and new ones for what every stage writes."""

    def __init__(self, backend: Native, inputs: Mapping[str, np.ndarray]) -> None:
        self._backend = backend
        self._tensors = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        self._cancel = ctypes.c_int(0)  # which the kernels look at

    def run(self, stage: str) -> None:
        """See `Frame.run`."""
        if self._cancel.value:
            raise StageCancelled(f"{stage} was cancelled before it began")
        written = self._backend.execute(stage, self._tensors, self._cancel)
        if written is None:
            raise StageCancelled(f"{stage} was cancelled")
        self._tensors.update(written)

    def read(self, name: str) -> np.ndarray:
        """See `Frame.read`: the array that the stage wrote into, which no other frame has."""
        return self._tensors[name]

    def cancel(self) -> None:
        """See `Frame.cancel`: the kernels stop between two pieces of some us."""
        self._cancel.value = 1


class _Machine:
    """The kernels' threads, and the programs that they run with the arrays that these point into."""

    def __init__(self, kernels: ctypes.CDLL, threads: int, spins: int) -> None:
        self._kernels = kernels
        self._process = os.getpid()
        self._kept: List[Program] = []
        self._programs: List[ctypes.c_void_p] = []
        self._pointer = ctypes.c_void_p(kernels.edgekit_machine(threads, spins))
        if not self._pointer:
            raise BackendError(
                f"native: there is no memory for {threads} threads, or too many of them run; ask for fewer"
            )

    def add(self, program: Program, source: str) -> ctypes.c_void_p:
        """Make ``program`` ready to run.

        Raises:
            BackendError: there is no memory for it.
        """
        kept = program._replace(constants=_aligned(program.constants))
        pointer = ctypes.c_void_p(
            self._kernels.edgekit_program(
                self._pointer, _address(kept.words), len(kept.words), _address(kept.table), _address(kept.constants),
                kept.arena, kept.packed,
            )
        )  # fmt: skip
        if not pointer:
            raise BackendError(f"{source}: there is no memory for it ({4e-6 * kept.arena:.0f} MB)")
        self._kept.append(kept)
        self._programs.append(pointer)
        return pointer

    def run(
        self,
        program: ctypes.c_void_p,
        given: Sequence[np.ndarray],
        written: Sequence[np.ndarray],
        cancel: ctypes.c_int,
    ) -> bool:
        """Whether it ran to its end; other Python threads run meanwhile."""
        inputs, outputs = ((ctypes.c_void_p * len(each))(*map(_address, each)) for each in (given, written))
        return bool(
            self._kernels.edgekit_run(self._pointer, program, inputs, outputs, ctypes.addressof(cancel)) == 0
        )

    def free(self) -> None:
        """End the threads, then free what they used; in a process that was forked off, which has none, it is left alone."""
        pointer, self._pointer = self._pointer, ctypes.c_void_p(None)
        if pointer and os.getpid() == self._process:
            self._kernels.edgekit_machine_free(pointer)
            while self._programs:
                self._kernels.edgekit_program_free(self._programs.pop())

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self.free()


def _readable(stage: str, name: str, array: np.ndarray, shape: Optional[Shape]) -> np.ndarray:
    """The array, if the program may read it through its address."""
    if shape is None:
        return array
    sides = array.shape[1:] + (1,) * (3 - len(array.shape[1:]))
    if array.dtype != np.float32 or array.shape[:1] != (1,) or sides != shape:
        wanted = " x ".join(map(str, (1, *shape)))
        found = " x ".join(map(str, array.shape)) or "a single"
        raise BackendError(f"{stage} reads {name} as {wanted} float32, and was given {found} {array.dtype}")
    return array


def _aligned(constants: np.ndarray) -> np.ndarray:
    """The same numbers, from an address that the kernels like."""
    place = np.empty(constants.nbytes + ALIGNED, np.uint8)
    start = -_address(place) % ALIGNED
    found = place[start : start + constants.nbytes].view(np.float32)
    found[:] = constants
    return found


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
