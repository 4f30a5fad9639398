"""edgekit's own kernels: programs of `edgekit.program` run on the processor, by C which the device's compiler has built."""

import ctypes
import os
import threading
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.errors import BackendError
from edgekit.kernels.arenas import Arena, Arenas, Home
from edgekit.kernels.buffers import ALIGNED, Buffers
from edgekit.kernels.checking import check_program, shapes_of_inputs
from edgekit.kernels.compiling import find_compiler, library, version
from edgekit.program import Program

# How often a thread looks for the next run before it sleeps: some 50 us, about what waking it would cost.
SPINS = 3000


class Moved(NamedTuple):
    """An input or an output that does not stay in the arena: its number, its name, and its sides; None for an input that no step reads."""

    number: int
    name: str
    shape: Optional[Tuple[int, ...]]


class Handle(NamedTuple):
    """A program that is ready to run. Whatever a run can find ready is: in the midst of a frame, Python is slow.

    Attributes:
        reads, writes: the addresses of inputs and outputs, by their numbers, set for a run.
        inputs, outputs: those that are moved; `Kernels.run` takes and gives None for all others.
        homes: of the others, by name.
        needed: the inputs among them.
        left: the outputs among them, with their homes.
        overwritten: as `edgekit.program.Program` has it.
        layout: of the arena that it runs on; no other program's where none of its tensors stays there.
        floats: of that arena.
    """

    pointer: ctypes.c_void_p
    reads: "ctypes.Array[ctypes.c_void_p]"
    writes: "ctypes.Array[ctypes.c_void_p]"
    inputs: Tuple[Moved, ...]
    outputs: Tuple[Moved, ...]
    homes: Dict[str, Home]
    needed: Tuple[str, ...]
    left: Dict[str, Home]
    overwritten: Tuple[str, ...]
    layout: str
    floats: int


class Kernels:
    """A pool of threads and the programs that it runs, one at a time; several Python threads may ask it.

    Attributes:
        version: of the kernels, with the compiler's.
        compiler, flags: what they were built with.
        arenas: for who runs several programs of one layout one after the other.
    """

    def __init__(self, threads: int, spins: int = SPINS, cores: Sequence[int] = ()) -> None:
        """Build the kernels where that was not done before. The threads are made with the first program that is loaded.

        Args:
            threads: that work on a run, the caller's among them.
            spins: how often the others look for the next run before they sleep.
            cores: to keep each thread to, the caller's first, which is left where it is; none to let them move.

        Raises:
            BackendError: there is no compiler, or it cannot build them.
        """
        compiler = find_compiler()
        built = library(compiler)
        self.version = f"{version()} {compiler.name}"
        self.compiler, self.flags = " ".join(compiler.command), " ".join(built.flags)
        self._library = built.library
        self._threads, self._spins, self.cores = threads, spins, list(cores)
        self._process = os.getpid()
        self._machine = ctypes.c_void_p(None)
        self._kept: Dict[
            int, Program
        ] = {}  # by their addresses, programs with the arrays that these point into
        self._buffers = Buffers()
        self.arenas = Arenas(built.library)
        self._turn = threading.Lock()

    def load(self, program: Program, shapes: Sequence[Sequence[int]], source: str) -> Handle:
        """Make a program ready to run.

        Args:
            program: as `edgekit.program.decode` gives it.
            shapes: of its outputs, in its own order.
            source: names it in errors.

        Raises:
            BundleError: it is damaged, or would read or write where it must not.
            BackendError: there is no memory for it.
        """
        check_program(program, shapes, source)
        kept = program._replace(constants=_aligned(program.constants))
        with self._turn:
            if not self._machine:
                cores = (ctypes.c_int * len(self.cores))(*self.cores) if self.cores else None
                self._machine = ctypes.c_void_p(
                    self._library.edgekit_machine(self._threads, self._spins, cores)
                )
            if not self._machine:
                raise BackendError(f"native: {self._threads} threads cannot be had here; ask for fewer")
            pointer = self._library.edgekit_program(
                self._machine, _address(kept.words), len(kept.words), _address(kept.table), _address(kept.constants),
                kept.packed,
            )  # fmt: skip
            if not pointer:
                raise BackendError(f"{source}: there is no memory for it")
            self._kept[int(pointer)] = kept
        layout = "{} of {}".format(program.layout or f"program {pointer}", program.arena)
        self.arenas.take_back(self.arenas.lend(layout, program.arena))
        homes = {
            one.name: Home(one, kept.table[one.planes : one.planes + one.channels], layout, program.arena)
            for one in program.residents
        }
        reads, writes = ((ctypes.c_void_p * len(names))() for names in (program.inputs, program.outputs))
        return Handle(
            ctypes.c_void_p(pointer),
            reads,
            writes,
            _moved(program.inputs, shapes_of_inputs(program), homes),
            _moved(program.outputs, [tuple(shape) for shape in shapes], homes),
            homes,
            tuple(name for name in program.inputs if name in homes),
            {name: homes[name] for name in program.outputs if name in homes},
            program.overwritten,
            layout,
            program.arena,
        )

    def run(
        self,
        handle: Handle,
        inputs: Sequence[Optional[np.ndarray]],
        cancel: Optional[ctypes.c_int] = None,
        arena: Optional[Arena] = None,
    ) -> Optional[List[Optional[np.ndarray]]]:
        """What a program makes of its inputs, as arrays that are nobody else's; other Python threads run meanwhile.

        Args:
            handle: from `load`.
            inputs: float32, batch of one, or of two views which the program reads as one, in the order of the program's; None for
                those that stay in the arena.
            cancel: ends the run soon after another thread has set its value to 1.
            arena: of the program's layout, with all tensors that it needs there; may be left out where it needs none.

        Returns:
            Its outputs in its order, None for those that stay in the arena; None alone where it was cancelled.

        Raises:
            BackendError: an input is not what the program reads, there is no memory, or the kernels were closed.
        """
        given = [(one.number, _readable(inputs[one.number], one)) for one in handle.inputs]
        written: List[Optional[np.ndarray]] = [None] * len(handle.writes)
        for number, _, shape in handle.outputs:
            written[number] = self._buffers.empty(shape or ())
        lent = self.arenas.lend(handle.layout, handle.floats) if arena is None else arena
        with self._turn:
            if handle.pointer.value not in self._kept:
                raise BackendError("native: its kernels were closed")
            for number, array in given:
                handle.reads[number] = _address(array)
            for one in handle.outputs:
                handle.writes[one.number] = _address(written[one.number])
            failed = self._library.edgekit_run(
                self._machine, handle.pointer, lent.address, handle.reads, handle.writes,
                None if cancel is None else ctypes.addressof(cancel),
            )  # fmt: skip
        if arena is None:
            self.arenas.take_back(lent)
        return None if failed else written

    def close(self) -> None:
        """End the threads after the run that is under way, and free all programs; may be called twice."""
        with self._turn:
            machine, self._machine = self._machine, ctypes.c_void_p(None)
            programs, self._kept = self._kept, {}
            self.arenas.clear()
            # A process that was forked off has none of the threads to wait for.
            if machine and os.getpid() == self._process:
                self._library.edgekit_machine_free(machine)
                for pointer in programs:
                    self._library.edgekit_program_free(pointer)

    def __del__(self) -> None:
        if hasattr(self, "_turn"):
            self.close()


def _moved(
    names: Sequence[str], shapes: Sequence[Optional[Tuple[int, ...]]], homes: Dict[str, Home]
) -> Tuple[Moved, ...]:
    return tuple(
        Moved(number, name, shape)
        for number, (name, shape) in enumerate(zip(names, shapes))
        if name not in homes
    )


def _readable(array: Optional[np.ndarray], wanted: Moved) -> np.ndarray:
    """The array in the order in which a program reads it, through its address."""
    _, name, shape = wanted
    if array is None:
        raise BackendError(f"{name} is missing")
    if shape is not None:
        # Sides of one do not count: a row may be read as channels or as a picture's row. A pair of views is twice the channels.
        own = array.shape if array.ndim < 4 else (1, array.shape[0] * array.shape[1], *array.shape[2:])
        sides, those = ([side for side in each if side != 1] for each in (own[1:], shape))
        if array.dtype != np.float32 or own[:1] != (1,) or sides != those:
            needed = " x ".join(map(str, (1, *shape)))
            found = " x ".join(map(str, array.shape)) or "a single"
            raise BackendError(f"{name} is read as {needed} float32, and is {found} {array.dtype}")
    return np.ascontiguousarray(array)


def _aligned(constants: np.ndarray) -> np.ndarray:
    """The same numbers, from an address that the kernels like."""
    place = np.empty(constants.nbytes + ALIGNED, np.uint8)
    start = -_address(place) % ALIGNED
    found = place[start : start + constants.nbytes].view(np.float32)
    found[:] = constants
    return found


def _address(array: Optional[np.ndarray]) -> int:
    assert array is not None
    return int(array.__array_interface__["data"][0])
