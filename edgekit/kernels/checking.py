"""Whether a program stays within its own arrays: the kernels themselves look at nothing, so what fails here never reaches them."""

from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from edgekit.errors import BundleError
from edgekit.kernels.bounds import (
    MOST,
    MOST_OUTPUTS,
    NARROWEST,
    Shape,
    Wrong,
    filled_up,
    positive,
    steps_wide,
)
from edgekit.kernels.stereo_bounds import StereoBounds
from edgekit.program import (
    FEW,
    LANES,
    MANY,
    SQUARE_PARTS,
    STEPS,
    WINOGRAD_PARTS,
    Program,
    floats_of_squares,
    steps_of,
)

NAMES = tuple(STEPS)


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
    except Wrong as error:
        raise BundleError(f"{source}: {error}; the program is damaged: export the bundle again") from None
    checker = _Checker(program, [int(np.prod(shape, dtype=np.int64)) for shape in outputs])
    try:
        checker.residents()
    except Wrong as error:
        raise BundleError(f"{source}: {error}; the program is damaged: export the bundle again") from None
    for number, (name, arguments) in enumerate(steps, 1):
        try:
            checker.check(name, arguments)
            if name == "group":
                _check_group(steps[number : number + arguments[0]], arguments[0])
        except Wrong as error:
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
            raise Wrong(f"{name} are {array.dtype} of shape {array.shape}")
    if not 0 <= program.arena <= MOST or not 0 <= program.packed <= len(program.table) + 1:
        raise Wrong(f"an arena of {program.arena} and {program.packed} packed taps")


def _steps(words: np.ndarray) -> List[Tuple[str, List[int]]]:
    """The steps' names and arguments."""
    found = []
    rest = words.tolist()
    at = 0
    while at < len(rest):
        code, length = (*rest[at : at + 2], 0, 0)[:2]
        if not 0 <= code < len(NAMES) or length != len(STEPS[NAMES[code]]) + 2 or at + length > len(rest):
            raise Wrong(f"word {at} begins no whole step ({code}, {length})")
        found.append((NAMES[code], rest[at + 2 : at + length]))
        at += length
    return found


class _Checker(StereoBounds):
    """One program's bounds; `missing` are the sizes of the outputs that no step has written yet."""

    def __init__(self, program: Program, outputs: Sequence[int]) -> None:
        super().__init__(program, outputs)
        self._checks: Dict[str, Callable[..., None]] = {
            "import": self._import, "phases": self._phases, "conv": self._conv, "pool": self._pool, "mean": self._mean,
            "linear": self._linear, "copy": self._copy, "export": self._export, "strided": self._strided,
            "resize": self._resize, "transpose": self._transpose, "volume": self._volume, "expectation": self._expectation,
            "propagate": self._propagate, "stem": self._stem, "winograd": self._winograd,
            "squares": self._squares, "squared": self._squared, "halved": self._halved, "group": self._group,
        }  # fmt: skip

    def residents(self) -> None:
        """That tensors which stay in the arena have their places there.

        Raises:
            Wrong: one has not.
        """
        program = self._program
        names = [one.name for one in program.residents]
        if len(set(names)) < len(names) or not set(names) <= {*program.inputs, *program.outputs}:
            raise Wrong(f"residents {', '.join(names)} are not some of its inputs and outputs")
        if bool(names) != bool(program.layout):
            raise Wrong(f"{len(names)} residents in an arena of layout {program.layout!r}")
        for one in program.residents:
            try:
                self._planes(one.planes, one.channels, one.height, one.width, one.pitch)
            except Wrong as error:
                raise Wrong(f"{one.name} {error}") from None
            if one.name in program.outputs:
                number, size = program.outputs.index(one.name), one.channels * one.height * one.width
                if size != self._outputs[number]:
                    raise Wrong(f"{one.name} has {self._outputs[number]} elements, and {size} in the arena")
                self.missing[number] = 0

    def check(self, name: str, arguments: Sequence[int]) -> None:
        """That one step may run.

        Raises:
            Wrong: it may not.
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
            raise Wrong(f"holds the weights of {together} outputs together")
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
                raise Wrong(f"packs {unit.taps} taps, the program says at most {self._program.packed}")

    def _group(self, steps: int) -> None:
        positive(steps=steps)

    def _halved(self, **arguments: int) -> None:
        self._strided(**arguments, together=2)

    def _strided(
        self, rows: int, columns: int, pitch: int, stride: int, source_pitch: int, units: int, unit_table: int, limits: int,
        together: int = 1,
    ) -> None:  # fmt: skip
        """``together``: how many weights are in the place of a constant."""
        positive(rows=rows, columns=columns, pitch=pitch, source_pitch=source_pitch, units=units)
        if stride not in (1, 2):
            raise Wrong(f"has a stride of {stride}")
        if pitch < columns:
            raise Wrong(f"has rows of {columns} that begin {pitch} apart")
        positive(length=rows * pitch, span=rows * stride * source_pitch, pieces=units * rows * columns)
        self._constants(limits, 2)
        for unit in self._units(unit_table, units):
            if (unit.scale if together == 1 else -1, unit.shift, unit.floor) != (-1, -1, -1):
                raise Wrong("scales what it reads")
            self._arena(self._table(unit.output_table, unit.outputs), (rows - 1) * pitch + columns)
            span = (rows - 1) * stride * source_pitch + (columns - 1) * stride + 1
            self._arena(self._table(unit.tap_table, unit.taps), span)
            outputs = -(-unit.outputs // MANY) * MANY
            self._constants(unit.weight, outputs * unit.taps // together)
            if together > 1:
                self._constants(unit.scale, outputs)
            self._constants(unit.bias, outputs)

    def _pool(
        self, kind: int, counts: int, kernel: int, stride: int, padding: int, height: int, width: int, source_pitch: int,
        rows: int, columns: int, pitch: int, channels: int, sources: int, planes: int, scale: int, shift: int, floor: int,
    ) -> None:  # fmt: skip
        if kind not in (0, 1) or counts not in (0, 1):
            raise Wrong(f"is of kind {kind}, counts {counts}")
        steps_wide(kernel=kernel, stride=stride)
        if not 0 <= padding < kernel:
            raise Wrong(f"has a padding of {padding} in a window of {kernel}")
        self._planes(sources, channels, height, width, source_pitch)
        self._planes(planes, channels, rows, columns, pitch)
        positive(lines=channels * rows)
        self._before(scale, shift, floor, channels)
        reach = [(side - 1) * stride - padding for side in (rows, columns)]
        # A mean of two by two is read whole, other windows as far as the picture reaches.
        whole = kernel == stride == 2 and not kind and not padding
        if reach[0] >= height or reach[1] + whole >= width:
            raise Wrong("has windows outside of the picture")

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
            raise Wrong("copies onto itself")

    def _export(self, output: int, channels: int, height: int, width: int, pitch: int, planes: int) -> None:
        self._planes(planes, channels, height, width, pitch)
        self._output(output, channels, height, width)

    def _winograd(
        self, height: int, width: int, pitch: int, units: int, unit_table: int, limits: int
    ) -> None:
        positive(height=height, width=width, units=units, pieces=units * height * width)
        self._constants(limits, 2)
        for unit in self._units(unit_table, units):
            if not 0 < unit.taps <= MOST_OUTPUTS:
                raise Wrong(f"has a group of {unit.taps} planes to read")
            self._planes(unit.output_table, unit.outputs, height, width, pitch)
            self._planes(unit.tap_table, unit.taps, height, width, pitch)
            self._constants(unit.weight, unit.outputs * unit.taps * 3 * WINOGRAD_PARTS)
            self._constants(unit.bias, unit.outputs)

    def _squares(self, channels: int, sources: int, height: int, width: int, pitch: int, to: int) -> None:
        self._planes(sources, channels, height, width, pitch)
        if pitch == width:
            raise Wrong("has no zeros between rows, which it reads")
        self._arena(self._table(sources, channels) - 1, 1)
        self._arena(to, _of_squares(channels, height, width))

    def _squared(
        self, channels: int, source: int, outputs: int, planes: int, height: int, width: int, pitch: int, weight: int, bias: int,
        limits: int,
    ) -> None:  # fmt: skip
        positive(channels=channels, outputs=outputs)
        self._planes(planes, outputs, height, width, pitch)
        self._arena(source, _of_squares(channels, height, width))
        filled = -(-outputs // MANY) * MANY
        positive(weights=SQUARE_PARTS * filled * channels)
        self._constants(weight, SQUARE_PARTS * filled * channels)
        self._constants(bias, filled)
        self._constants(limits, 2)


def _of_squares(channels: int, height: int, width: int) -> int:
    """The floats of their parts, where these are a sensible number."""
    floats = floats_of_squares(height, width, channels)
    positive(floats=floats)
    return floats


def _check_group(steps: Sequence[Tuple[str, List[int]]], count: int) -> None:
    if len(steps) < count or any(name == "group" for name, _ in steps):
        raise Wrong(f"has {count} steps, of which there are {len(steps)} that are no groups")
