"""How far a program's own arrays reach, and what no step may do beyond them."""

from typing import Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from edgekit.program import LANES, MANY, UNIT, Program

Shape = Tuple[int, int, int]  # channels, height, width
Places = Union[int, np.ndarray]

MOST = (
    1 << 28
)  # floats of an arena, and of anything that is counted: 1 GB, and products by small numbers stay whole
MOST_OUTPUTS = 1 << 16  # of a convolution's group
LONGEST_STEP = 1 << 15  # a window's side or a stride
WIDEST_MATCH = 1 << 20  # columns of a volume: places in a row are computed as floats
MOST_STEM = 64  # channels that a stem reads, or has between its convolutions
NARROWEST = 2  # elements of a piece of a convolution, on the processor with the shortest vectors


class Unit(NamedTuple):
    """A group of a convolution; see `edgekit.program.UNIT`."""

    outputs: int
    taps: int
    output_table: int
    tap_table: int
    weight: int
    bias: int
    scale: int
    shift: int
    floor: int


assert Unit._fields == UNIT


class Wrong(Exception):
    """What a step does that it must not."""


class Bounds:
    """One program's; `missing` are the sizes of the outputs that no step has written yet."""

    def __init__(self, program: Program, outputs: Sequence[int]) -> None:
        self._program = program
        self._outputs = outputs
        self.missing = list(outputs)
        self._inputs: Dict[int, Shape] = {}
        self._staying = {one.name for one in program.residents}

    def _units(self, table: int, count: int) -> List[Unit]:
        each = [
            Unit(*row) for row in self._table(table, count * len(UNIT)).reshape(count, len(UNIT)).tolist()
        ]
        for unit in each:
            if not 0 < unit.outputs <= MOST_OUTPUTS or unit.taps < 0:
                raise Wrong(f"has a group of {unit.outputs} outputs and {unit.taps} taps")
        positive(strips=count * -(-max(unit.outputs for unit in each) // MANY))
        return each

    def _input(self, input: int, channels: int, height: int, width: int) -> None:
        if not 0 <= input < len(self._program.inputs):
            raise Wrong(f"reads input {input} of {len(self._program.inputs)}")
        self._moved(self._program.inputs[input])
        positive(channels=channels, height=height, width=width)
        shape = channels, height, width
        if self._inputs.setdefault(input, shape) != shape:
            raise Wrong(f"reads input {input} as {shape}, and an earlier step as {self._inputs[input]}")

    def _output(self, output: int, channels: int, height: int, width: int) -> None:
        if not 0 <= output < len(self._outputs):
            raise Wrong(f"writes output {output} of {len(self._outputs)}")
        self._moved(self._program.outputs[output])
        if channels * height * width != self._outputs[output]:
            raise Wrong(
                f"writes {channels} x {height} x {width} to output {output}, which has {self._outputs[output]} elements"
            )
        self.missing[output] = 0

    def _moved(self, name: str) -> None:
        if name in self._staying:
            raise Wrong(f"moves {name}, which stays in the arena")

    def _planes(self, table: int, channels: int, height: int, width: int, pitch: int) -> None:
        """Planes of rows in the arena."""
        positive(channels=channels, height=height, width=width, pitch=pitch)
        if pitch < width:
            raise Wrong(f"has rows of {width} that begin {pitch} apart")
        self._arena(self._table(table, channels), (height - 1) * pitch + width)

    def _before(self, scale: int, shift: int, floor: int, count: int) -> None:
        if (scale, shift, floor) != (-1, -1, -1):
            for at in (scale, shift, floor):
                self._constants(at, count)

    def _table(self, at: int, count: int) -> np.ndarray:
        if at < 0 or at + count > len(self._program.table):
            raise Wrong(f"reads the table at {at} to {at + count}, it has {len(self._program.table)}")
        return self._program.table[at : at + count]

    def _constants(self, at: int, count: int) -> None:
        if at < 0 or at + count > len(self._program.constants):
            raise Wrong(f"reads constants {at} to {at + count}, there are {len(self._program.constants)}")

    def _arena(self, places: Places, count: int) -> None:
        if np.size(places) == 0:
            return
        first, last = int(np.min(places)), int(np.max(places)) + count
        if first < 0 or last > self._program.arena:
            raise Wrong(f"uses the arena at {first} to {last}, it has {self._program.arena}")


def filled_up(length: int) -> int:
    """The elements of a plane that are read and written for ``length`` of them."""
    return -(-length // LANES) * LANES


def instead_of_planes(table: int, pitch: int, width: int) -> None:
    """That no planes are named where an input or an output is used, and that its rows have no gaps.

    Raises:
        Wrong: otherwise.
    """
    if table != -1 or pitch != width:
        raise Wrong(f"names planes at {table} beside a tensor, and rows {pitch} apart that have {width}")


def positive(**numbers: int) -> None:
    """That these are sensible numbers of something.

    Raises:
        Wrong: one is not.
    """
    for name, number in numbers.items():
        if not 0 < number <= MOST:
            raise Wrong(f"has {number} {name}")


def few(**numbers: int) -> None:
    """That these are sensible numbers of a stem's channels.

    Raises:
        Wrong: one is not.
    """
    for name, number in numbers.items():
        if not 0 < number <= MOST_STEM:
            raise Wrong(f"has {number} {name}")


def steps_wide(**sides: int) -> None:
    """That these are sensible sides of a window.

    Raises:
        Wrong: one is not.
    """
    for name, side in sides.items():
        if not 0 < side <= LONGEST_STEP:
            raise Wrong(f"has a {name} of {side}")
