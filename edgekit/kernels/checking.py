"""Whether a program stays within its own arrays: the kernels themselves look at nothing, so what fails here never reaches them."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.errors import BundleError
from edgekit.program import FEW, LANES, MANY, STEPS, UNIT, WINOGRAD_PARTS, Program, steps_of

Shape = Tuple[int, int, int]  # channels, height, width
Places = Union[int, np.ndarray]

NAMES = tuple(STEPS)
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


class _Wrong(Exception):
    """What a step does that it must not."""


def check_program(program: Program, outputs: Sequence[Sequence[int]], source: str) -> None:
    """That no step reads or writes outside of the arena, the table, the constants, the inputs or the outputs.

    Args:
        program: as `edgekit.program.decode` gives it.
        outputs: the shapes of what it writes, in its own order.
        source: names it in errors.

    Raises:
        BundleError: one does, or the words are no steps.
    """
    try:
        _check_arrays(program)
        steps = _steps(program.words)
    except _Wrong as error:
        raise BundleError(f"{source}: {error}; the program is damaged: export the bundle again") from None
    checker = _Checker(program, [int(np.prod(shape, dtype=np.int64)) for shape in outputs])
    for number, (name, arguments) in enumerate(steps, 1):
        try:
            checker.check(name, arguments)
        except _Wrong as error:
            raise BundleError(
                f"{source}: step {number} ({name}) {error}; the program is damaged: export the bundle again"
            ) from None
    unwritten = [name for name, size in zip(program.outputs, checker.missing) if size]
    if unwritten:
        raise BundleError(
            f"{source}: no step writes {', '.join(unwritten)}; the program is damaged: export the bundle again"
        )


def shapes_of_inputs(program: Program) -> List[Optional[Shape]]:
    """What a program that was checked reads of every input: channels, height and width; None of one that it does not read."""
    found: Dict[int, Shape] = {}
    for _, said in steps_of(program):
        if said.get("input", -1) >= 0:
            found[said["input"]] = (said["channels"], said["height"], said["width"])
        if said.get("addend", -1) >= 0:
            found[said["addend"]] = (said["channels"], said["rows"], said["columns"])
    return [found.get(number) for number in range(len(program.inputs))]


def _check_arrays(program: Program) -> None:
    for name, array, dtype in (
        ("words", program.words, np.int32),
        ("table", program.table, np.int32),
        ("constants", program.constants, np.float32),
    ):
        if array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous or len(array) > MOST:
            raise _Wrong(f"{name} are {array.dtype} of shape {array.shape}")
    if not 0 <= program.arena <= MOST or not 0 <= program.packed <= len(program.table) + 1:
        raise _Wrong(f"an arena of {program.arena} and {program.packed} packed taps")


def _steps(words: np.ndarray) -> List[Tuple[str, List[int]]]:
    """The steps' names and arguments."""
    found = []
    rest = words.tolist()
    at = 0
    while at < len(rest):
        code, length = (*rest[at : at + 2], 0, 0)[:2]
        if not 0 <= code < len(NAMES) or length != len(STEPS[NAMES[code]]) + 2 or at + length > len(rest):
            raise _Wrong(f"word {at} begins no whole step ({code}, {length})")
        found.append((NAMES[code], rest[at + 2 : at + length]))
        at += length
    return found


class _Checker:
    """One program's bounds; `missing` are the sizes of the outputs that no step has written yet."""

    def __init__(self, program: Program, outputs: Sequence[int]) -> None:
        self._program = program
        self._outputs = outputs
        self.missing = list(outputs)
        self._inputs: Dict[int, Shape] = {}
        self._checks: Dict[str, Callable[..., None]] = {
            "import": self._import, "phases": self._phases, "conv": self._conv, "pool": self._pool, "mean": self._mean,
            "linear": self._linear, "copy": self._copy, "export": self._export, "strided": self._strided,
            "resize": self._resize, "transpose": self._transpose, "volume": self._volume, "expectation": self._expectation,
            "propagate": self._propagate, "stem": self._stem, "winograd": self._winograd,
        }  # fmt: skip

    def check(self, name: str, arguments: Sequence[int]) -> None:
        """That one step may run.

        Raises:
            _Wrong: it may not.
        """
        self._checks[name](**dict(zip(STEPS[name], arguments)))

    def _import(
        self, input: int, channels: int, height: int, width: int, stride: int, rows: int, columns: int, pitch: int, planes: int
    ) -> None:  # fmt: skip
        self._input(input, channels, height, width)
        self._write_phases(channels, stride, rows, columns, pitch, planes)

    def _phases(
        self, sources: int, channels: int, height: int, width: int, source_pitch: int, stride: int, rows: int, columns: int,
        pitch: int, planes: int,
    ) -> None:  # fmt: skip
        self._planes(sources, channels, height, width, source_pitch)
        self._write_phases(channels, stride, rows, columns, pitch, planes)

    def _write_phases(
        self, channels: int, stride: int, rows: int, columns: int, pitch: int, planes: int
    ) -> None:
        steps_wide(stride=stride)
        positive(rows=rows * stride, columns=columns * stride)
        self._planes(planes, channels * stride * stride, rows, columns, pitch)

    def _conv(self, length: int, units: int, unit_table: int, mask: int, limits: int, together: int) -> None:
        if together not in (FEW, MANY):
            raise _Wrong(f"holds the weights of {together} outputs together")
        positive(length=length, units=units, pieces=units * -(-length // NARROWEST))
        filled = filled_up(length)
        self._constants(mask, filled)
        self._constants(limits, 2)
        for unit in self._units(unit_table, units):
            self._arena(self._table(unit.output_table, unit.outputs), filled)
            # A packed tap is read in whole vectors from any pixel on where a vector is of outputs.
            beyond = LANES - 1 if unit.scale >= 0 and together == MANY else 0
            self._arena(self._table(unit.tap_table, unit.taps), max(filled, length + beyond))
            outputs = -(-unit.outputs // MANY) * MANY if together == MANY else unit.outputs
            self._constants(unit.weight, outputs * unit.taps)
            self._constants(unit.bias, outputs)
            self._before(unit.scale, unit.shift, unit.floor, unit.taps)
            if unit.scale >= 0 and unit.taps > self._program.packed:
                raise _Wrong(f"packs {unit.taps} taps, the program says at most {self._program.packed}")

    def _units(self, table: int, count: int) -> List[Unit]:
        each = [
            Unit(*row) for row in self._table(table, count * len(UNIT)).reshape(count, len(UNIT)).tolist()
        ]
        for unit in each:
            if not 0 < unit.outputs <= MOST_OUTPUTS or unit.taps < 0:
                raise _Wrong(f"has a group of {unit.outputs} outputs and {unit.taps} taps")
        positive(strips=count * -(-max(unit.outputs for unit in each) // MANY))
        return each

    def _strided(
        self, rows: int, columns: int, pitch: int, stride: int, source_pitch: int, units: int, unit_table: int, limits: int
    ) -> None:  # fmt: skip
        positive(rows=rows, columns=columns, pitch=pitch, source_pitch=source_pitch, units=units)
        if stride not in (1, 2):
            raise _Wrong(f"has a stride of {stride}")
        if pitch < columns:
            raise _Wrong(f"has rows of {columns} that begin {pitch} apart")
        positive(length=rows * pitch, span=rows * stride * source_pitch, pieces=units * rows * columns)
        self._constants(limits, 2)
        for unit in self._units(unit_table, units):
            if (unit.scale, unit.shift, unit.floor) != (-1, -1, -1):
                raise _Wrong("scales what it reads")
            self._arena(self._table(unit.output_table, unit.outputs), (rows - 1) * pitch + columns)
            span = (rows - 1) * stride * source_pitch + (columns - 1) * stride + 1
            self._arena(self._table(unit.tap_table, unit.taps), span)
            outputs = -(-unit.outputs // MANY) * MANY
            self._constants(unit.weight, outputs * unit.taps)
            self._constants(unit.bias, outputs)

    def _pool(
        self, kind: int, counts: int, kernel: int, stride: int, padding: int, height: int, width: int, source_pitch: int,
        rows: int, columns: int, pitch: int, channels: int, sources: int, planes: int, scale: int, shift: int, floor: int,
    ) -> None:  # fmt: skip
        if kind not in (0, 1) or counts not in (0, 1):
            raise _Wrong(f"is of kind {kind}, counts {counts}")
        steps_wide(kernel=kernel, stride=stride)
        if not 0 <= padding < kernel:
            raise _Wrong(f"has a padding of {padding} in a window of {kernel}")
        self._planes(sources, channels, height, width, source_pitch)
        self._planes(planes, channels, rows, columns, pitch)
        positive(lines=channels * rows)
        self._before(scale, shift, floor, channels)
        reach = [(side - 1) * stride - padding for side in (rows, columns)]
        # A mean of two by two is read whole, other windows as far as the picture reaches.
        whole = kernel == stride == 2 and not kind and not padding
        if reach[0] >= height or reach[1] + whole >= width:
            raise _Wrong("has windows outside of the picture")

    def _mean(
        self, length: int, count: int, mask: int, channels: int, sources: int, to: int, scale: int, shift: int, floor: int
    ) -> None:  # fmt: skip
        positive(length=length, count=count, channels=channels)
        self._constants(mask, filled_up(length))
        self._arena(self._table(sources, channels), filled_up(length))
        self._arena(to, channels)
        self._before(scale, shift, floor, channels)

    def _linear(
        self, outputs: int, taps: int, source: int, to: int, weight: int, bias: int, limits: int
    ) -> None:
        positive(outputs=outputs, taps=taps)
        self._arena(source, taps)
        self._arena(to, outputs)
        self._constants(weight, outputs * taps)
        self._constants(bias, outputs)
        self._constants(limits, 2)

    def _copy(self, count: int, source: int, to: int) -> None:
        positive(count=count)
        self._arena(source, count)
        self._arena(to, count)
        if abs(source - to) < count:
            raise _Wrong("copies onto itself")

    def _export(self, output: int, channels: int, height: int, width: int, pitch: int, planes: int) -> None:
        self._planes(planes, channels, height, width, pitch)
        self._output(output, channels, height, width)

    def _resize(
        self, input: int, sources: int, channels: int, height: int, width: int, source_pitch: int, row_table: int,
        row_weights: int, column_table: int, column_weights: int, scale: int, shift: int, floor: int, addend: int, output: int,
        rows: int, columns: int, pitch: int, planes: int,
    ) -> None:  # fmt: skip
        positive(
            channels=channels, height=height, width=width, rows=rows, columns=columns, lines=channels * rows
        )
        if input == -1:
            self._planes(sources, channels, height, width, source_pitch)
        else:
            self._input(input, channels, height, width)
            instead_of_planes(sources, source_pitch, width)
        if output == -1:
            self._planes(planes, channels, rows, columns, pitch)
        else:
            self._output(output, channels, rows, columns)
            instead_of_planes(planes, pitch, columns)
        if addend != -1:
            self._input(addend, channels, rows, columns)
        for table, weights, count, side in (
            (row_table, row_weights, rows, height),
            (column_table, column_weights, columns, width),
        ):
            places = self._table(table, 2 * count)
            if places.min() < 0 or places.max() >= side:
                raise _Wrong(f"mixes pixels {places.min()} to {places.max()} of {side}")
            self._constants(weights, count)
        self._before(scale, shift, floor, channels)

    def _transpose(
        self, channels: int, sources: int, height: int, width: int, source_pitch: int, planes: int, pitch: int
    ) -> None:
        self._planes(sources, channels, height, width, source_pitch)
        self._planes(planes, channels, width, height, pitch)
        positive(columns=channels * width)

    def _volume(
        self, left: int, right: int, channels: int, height: int, width: int, pitch: int, disparity: int, first: int, step: int,
        slices: int, sums: int, limits: int, planes: int,
    ) -> None:  # fmt: skip
        for views in (left, right):
            self._planes(views, channels, height, width, pitch)
        self._planes(planes, slices, height, width, pitch)
        if disparity != -1:
            self._arena(disparity, (height - 1) * pitch + width)
        steps_wide(distance=first + 1, slices=slices)
        if width > WIDEST_MATCH or step not in (-1, 1):
            raise _Wrong(f"matches rows of {width} in steps of {step}")
        positive(samples=channels * (width + 4 * (first + slices + 1)))
        self._constants(sums, 2)
        self._constants(limits, 2)

    def _expectation(
        self, slices: int, sources: int, height: int, width: int, pitch: int, values: int, to: int
    ) -> None:
        self._planes(sources, slices, height, width, pitch)
        self._arena(to, (height - 1) * pitch + width)
        self._constants(values, slices)

    def _propagate(
        self, channels: int, sources: int, gates: int, height: int, width: int, pitch: int, planes: int
    ) -> None:
        for table, count in ((sources, channels), (gates, 3 * channels), (planes, channels)):
            self._planes(table, count, height, width, pitch)

    def _stem(
        self, input: int, channels: int, height: int, width: int, inner: int, outputs: int, rows: int, columns: int, pitch: int,
        planes: int, weight: int, bias: int, second: int, second_bias: int, limits: int,
    ) -> None:  # fmt: skip
        self._input(input, channels, height, width)
        few(channels=channels, inner=inner)
        if (rows, columns) != (-(-height // 2), -(-width // 2)):
            raise _Wrong(f"writes {rows} x {columns} of {height} x {width}")
        self._planes(planes, outputs, rows, columns, pitch)
        for at, count in (
            (weight, inner * channels * 9), (bias, inner), (second, outputs * inner * 9), (second_bias, outputs), (limits, 2),
        ):  # fmt: skip
            self._constants(at, count)

    def _winograd(
        self, height: int, width: int, pitch: int, units: int, unit_table: int, limits: int
    ) -> None:
        positive(height=height, width=width, units=units, pieces=units * height * width)
        self._constants(limits, 2)
        for unit in self._units(unit_table, units):
            if not 0 < unit.taps <= MOST_OUTPUTS:
                raise _Wrong(f"has a group of {unit.taps} planes to read")
            self._planes(unit.output_table, unit.outputs, height, width, pitch)
            self._planes(unit.tap_table, unit.taps, height, width, pitch)
            self._constants(unit.weight, unit.outputs * unit.taps * 3 * WINOGRAD_PARTS)
            self._constants(unit.bias, unit.outputs)

    def _input(self, input: int, channels: int, height: int, width: int) -> None:
        if not 0 <= input < len(self._program.inputs):
            raise _Wrong(f"reads input {input} of {len(self._program.inputs)}")
        positive(channels=channels, height=height, width=width)
        shape = channels, height, width
        if self._inputs.setdefault(input, shape) != shape:
            raise _Wrong(f"reads input {input} as {shape}, and an earlier step as {self._inputs[input]}")

    def _output(self, output: int, channels: int, height: int, width: int) -> None:
        if not 0 <= output < len(self._outputs):
            raise _Wrong(f"writes output {output} of {len(self._outputs)}")
        if channels * height * width != self._outputs[output]:
            raise _Wrong(
                f"writes {channels} x {height} x {width} to output {output}, which has {self._outputs[output]} elements"
            )
        self.missing[output] = 0

    def _planes(self, table: int, channels: int, height: int, width: int, pitch: int) -> None:
        """Planes of rows in the arena."""
        positive(channels=channels, height=height, width=width, pitch=pitch)
        if pitch < width:
            raise _Wrong(f"has rows of {width} that begin {pitch} apart")
        self._arena(self._table(table, channels), (height - 1) * pitch + width)

    def _before(self, scale: int, shift: int, floor: int, count: int) -> None:
        if (scale, shift, floor) != (-1, -1, -1):
            for at in (scale, shift, floor):
                self._constants(at, count)

    def _table(self, at: int, count: int) -> np.ndarray:
        if at < 0 or at + count > len(self._program.table):
            raise _Wrong(f"reads the table at {at} to {at + count}, it has {len(self._program.table)}")
        return self._program.table[at : at + count]

    def _constants(self, at: int, count: int) -> None:
        if at < 0 or at + count > len(self._program.constants):
            raise _Wrong(f"reads constants {at} to {at + count}, there are {len(self._program.constants)}")

    def _arena(self, places: Places, count: int) -> None:
        if np.size(places) == 0:
            return
        first, last = int(np.min(places)), int(np.max(places)) + count
        if first < 0 or last > self._program.arena:
            raise _Wrong(f"uses the arena at {first} to {last}, it has {self._program.arena}")


def filled_up(length: int) -> int:
    """The elements of a plane that are read and written for ``length`` of them."""
    return -(-length // LANES) * LANES


def instead_of_planes(table: int, pitch: int, width: int) -> None:
    """That no planes are named where an input or an output is used, and that its rows have no gaps.

    Raises:
        _Wrong: otherwise.
    """
    if table != -1 or pitch != width:
        raise _Wrong(f"names planes at {table} beside a tensor, and rows {pitch} apart that have {width}")


def positive(**numbers: int) -> None:
    """That these are sensible numbers of something.

    Raises:
        _Wrong: one is not.
    """
    for name, number in numbers.items():
        if not 0 < number <= MOST:
            raise _Wrong(f"has {number} {name}")


def few(**numbers: int) -> None:
    """That these are sensible numbers of a stem's channels.

    Raises:
        _Wrong: one is not.
    """
    for name, number in numbers.items():
        if not 0 < number <= MOST_STEM:
            raise _Wrong(f"has {number} {name}")


def steps_wide(**sides: int) -> None:
    """That these are sensible sides of a window.

    Raises:
        _Wrong: one is not.
    """
    for name, side in sides.items():
        if not 0 < side <= LONGEST_STEP:
            raise _Wrong(f"has a {name} of {side}")
