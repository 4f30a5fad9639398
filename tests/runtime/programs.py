"""Programs for the backend `native`, written by hand: what a small network is in them, and toy bundles that have some."""

import shutil
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.bundle import Bundle, Variant, write_bundle
from edgekit.program import CODES, FEW, LANES, MANY, SQUARE, SQUARE_PARTS, STEPS, Program, encode
from tests.toy_graphs import SIDE, exits_weights, write_exits

HALO = 1  # zeros beside, above and below every plane
FREE = (-np.inf, np.inf)
Before = Tuple[np.ndarray, np.ndarray, np.ndarray]  # scale, shift and floor of every channel
Axis = Tuple[
    np.ndarray, np.ndarray
]  # of a resize: pairs of neighbours (N, 2), and weights (N,) of the second ones


class Planes(NamedTuple):
    """Channels in the arena: where each begins, and their sides."""

    places: np.ndarray
    height: int
    width: int

    @property
    def pitch(self) -> int:
        return self.width + HALO

    @property
    def length(self) -> int:
        return self.height * self.pitch


class Writer:
    """Writes a program step by step."""

    def __init__(self) -> None:
        self.words: List[int] = []
        self.table: List[int] = []
        self.constants: List[float] = []
        self.arena = 0
        self.packed = 0

    def program(self, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        return Program(
            tuple(inputs), tuple(outputs), np.array(self.words, np.int32), np.array(self.table, np.int32),
            np.array(self.constants, np.float32), self.arena, self.packed,
        )  # fmt: skip

    def step(self, name: str, *arguments: int) -> None:
        assert len(arguments) == len(STEPS[name])
        self.words += [CODES[name], len(arguments) + 2, *map(int, arguments)]

    def keep(self, values: Sequence[float]) -> int:
        at = len(self.constants)
        flat = np.asarray(values, np.float32).ravel().tolist()
        self.constants += flat + [0.0] * (-len(flat) % LANES)
        return at

    def place(self, values: Sequence[int]) -> int:
        at = len(self.table)
        self.table += np.asarray(values).ravel().tolist()
        return at

    def planes(self, count: int, height: int, width: int) -> Planes:
        margin = HALO * (width + HALO) + HALO + LANES
        size = 2 * margin + -(-height * (width + HALO) // LANES) * LANES
        found = Planes(self.arena + margin + size * np.arange(count), height, width)
        self.arena += count * size
        return found

    def vector(self, count: int) -> int:
        self.arena += count
        return self.arena - count

    def mask(self, planes: Planes) -> int:
        mask = np.zeros(-(-planes.length // LANES) * LANES)
        mask[: planes.length].reshape(planes.height, planes.pitch)[:, : planes.width] = 1
        return self.keep(mask)

    def before(self, given: Optional[Before]) -> List[int]:
        return [-1, -1, -1] if given is None else [self.keep(each) for each in given]

    def picture(self, number: int, shape: Tuple[int, int, int]) -> Planes:
        made = self.planes(*shape)
        self.step("import", number, *shape, 1, *shape[1:], made.pitch, self.place(made.places))
        return made

    def halves(self, source: Planes) -> List[Planes]:
        """The four phases of every channel with a stride of two."""
        rows, columns = -(-source.height // 2), -(-source.width // 2)
        made = self.planes(4 * len(source.places), rows, columns)
        self.step(
            "phases", self.place(source.places), len(source.places), source.height, source.width, source.pitch, 2, rows, columns,
            made.pitch, self.place(made.places),
        )  # fmt: skip
        return [made._replace(places=made.places[phase::4]) for phase in range(4)]

    def convolution(
        self, source: Planes, weights: np.ndarray, bias: np.ndarray, groups: int = 1, limits: Tuple[float, float] = FREE,
        before: Optional[Before] = None, together: int = FEW,
    ) -> Planes:  # fmt: skip
        """Of stride one, padded to its own size; weights (outputs, inputs of a group, side, side)."""
        outputs, _, side, _ = weights.shape
        made = self.planes(outputs, source.height, source.width)
        away = np.arange(side) - side // 2
        shifts = away[:, None] * source.pitch + away
        units = []
        for group in range(groups):
            rows = np.array_split(np.arange(outputs), groups)[group]
            channels = np.array_split(np.arange(len(source.places)), groups)[group]
            taps = source.places[channels][:, None, None] + shifts
            fill = -len(rows) % MANY if together == MANY else 0
            matrix = np.pad(weights[rows].reshape(len(rows), -1), ((0, fill), (0, 0)), "constant")
            blocks = [matrix[at : at + together].T.ravel() for at in range(0, len(matrix), together)]
            each = None if before is None else [np.repeat(one[channels], side * side) for one in before]
            self.packed = max(self.packed, 0 if each is None else taps.size)
            units += [
                len(rows), taps.size, self.place(made.places[rows]), self.place(taps), self.keep(np.concatenate(blocks)),
                self.keep(np.append(bias[rows], np.zeros(fill))), *self.before(None if each is None else (each[0], each[1], each[2])),
            ]  # fmt: skip
        self.step(
            "conv", made.length, groups, self.place(units), self.mask(made), self.keep(limits), together
        )
        return made

    def winograd(self, source: Planes, weight: np.ndarray, bias: Sequence[float]) -> Planes:
        """A 3x3 convolution, padded with one zero, in Winograd's products: its parts G w are ``weight`` (outputs, inputs, 6, 3)."""
        outputs, inputs = weight.shape[:2]
        to = self.planes(outputs, source.height, source.width)
        strips = [weight[row : row + FEW].transpose(2, 1, 3, 0).ravel() for row in range(0, outputs, FEW)]
        unit = [
            outputs, inputs, self.place(to.places), self.place(source.places), self.keep(np.concatenate(strips)),
            self.keep(bias), -1, -1, -1,
        ]  # fmt: skip
        limits = self.keep(FREE)
        self.step("winograd", source.height, source.width, source.pitch, 1, self.place(unit), limits)
        return to

    def squared(self, source: Planes, weight: np.ndarray, bias: np.ndarray) -> Planes:
        """A 3x3 convolution, padded with one zero, in squares: its parts G w Gt are ``weight`` (36, outputs, inputs)."""
        parts, outputs, inputs = weight.shape
        to = self.planes(outputs, source.height, source.width)
        squares = -(-source.height // SQUARE) * -(-source.width // SQUARE)
        row = self.vector(SQUARE_PARTS * (inputs * -(-squares // MANY) * MANY + LANES))
        sides = (source.height, source.width, source.pitch)
        self.step("squares", inputs, self.place(source.places), *sides, row)
        fill = -outputs % MANY
        filled = np.pad(weight, ((0, 0), (0, fill), (0, 0)), "constant").reshape(parts, -1, MANY, inputs)
        self.step(
            "squared", inputs, row, outputs, self.place(to.places), *sides, self.keep(filled.transpose(1, 0, 3, 2)),
            self.keep(np.append(bias, np.zeros(fill))), self.keep(FREE),
        )  # fmt: skip
        return to

    def group(self, steps: int) -> None:
        self.step("group", steps)

    def strided(
        self, source: Planes, weights: np.ndarray, bias: np.ndarray, limits: Tuple[float, float] = FREE, stride: int = 2,
        halved: bool = False,
    ) -> Planes:  # fmt: skip
        """Padded by half of its side; weights (outputs, inputs, side, side), small whole numbers where ``halved``."""
        outputs, _, side, _ = weights.shape
        made = self.planes(outputs, -(-source.height // stride), -(-source.width // stride))
        away = np.arange(side) - side // 2
        taps = source.places[:, None, None] + away[:, None] * source.pitch + away
        fill = -outputs % MANY
        matrix = np.pad(weights.reshape(outputs, -1), ((0, fill), (0, 0)), "constant")
        blocks = [matrix[at : at + MANY].T.ravel() for at in range(0, len(matrix), MANY)]
        flat = np.concatenate(blocks)
        unit = [
            outputs, taps.size, self.place(made.places), self.place(taps),
            self.keep(flat.astype("<i2").view("<f4") if halved else flat), self.keep(np.append(bias, np.zeros(fill))),
            self.keep(np.ones(outputs + fill)) if halved else -1, -1, -1,
        ]  # fmt: skip
        self.step(
            "halved" if halved else "strided", made.height, made.width, made.pitch, stride, source.pitch, 1, self.place(unit), self.keep(limits)
        )  # fmt: skip
        return made

    def pool(
        self,
        source: Planes,
        kind: int,
        kernel: int,
        stride: int,
        padding: int,
        before: Optional[Before] = None,
    ) -> Planes:
        rows, columns = (
            (side + 2 * padding - kernel) // stride + 1 for side in (source.height, source.width)
        )
        made = self.planes(len(source.places), rows, columns)
        self.step(
            "pool", kind, 1, kernel, stride, padding, source.height, source.width, source.pitch, rows, columns, made.pitch,
            len(source.places), self.place(source.places), self.place(made.places), *self.before(before),
        )  # fmt: skip
        return made

    def mean(self, source: Planes, before: Optional[Before] = None) -> int:
        to = self.vector(len(source.places))
        self.step(
            "mean", source.length, source.height * source.width, self.mask(source), len(source.places),
            self.place(source.places), to, *self.before(before),
        )  # fmt: skip
        return to

    def linear(
        self, source: int, weights: np.ndarray, bias: np.ndarray, limits: Tuple[float, float] = FREE
    ) -> int:
        """weights (outputs, inputs)."""
        to = self.vector(len(weights))
        self.step(
            "linear", *weights.shape, source, to, self.keep(weights), self.keep(bias), self.keep(limits)
        )
        return to

    def resize(
        self, source: Union[int, Planes], shape: Tuple[int, int, int], rows: Axis, columns: Axis, to: Optional[int] = None,
        before: Optional[Before] = None, addend: int = -1,
    ) -> Planes:  # fmt: skip
        """Of an input or of planes (channels, height, width); into an output, or planes."""
        channels, _, width = shape
        sides = len(rows[1]), len(columns[1])
        read = (-1, self.place(source.places)) if isinstance(source, Planes) else (source, -1)
        made = Planes(np.zeros(channels, int), *sides) if to is not None else self.planes(channels, *sides)
        tables = [each for axis in (rows, columns) for each in (self.place(axis[0]), self.keep(axis[1]))]
        written = (to, *sides, sides[1], -1) if to is not None else (-1, *sides, made.pitch, self.place(made.places))  # fmt: skip
        pitch = source.pitch if isinstance(source, Planes) else width
        self.step("resize", *read, *shape, pitch, *tables, *self.before(before), addend, *written)
        return made

    def transpose(self, source: Planes) -> Planes:
        made = self.planes(len(source.places), source.width, source.height)
        self.step(
            "transpose", len(source.places), self.place(source.places), source.height, source.width, source.pitch,
            self.place(made.places), made.pitch,
        )  # fmt: skip
        return made

    def volume(
        self, left: Planes, right: Planes, disparity: Optional[Planes], first: int, step: int, slices: int,
        sums: Tuple[float, float] = (1.0, 0.0), limits: Tuple[float, float] = FREE,
    ) -> Planes:  # fmt: skip
        made = self.planes(slices, left.height, left.width)
        self.step(
            "volume", self.place(left.places), self.place(right.places), len(left.places), left.height, left.width, left.pitch,
            -1 if disparity is None else disparity.places[0], first, step, slices, self.keep(sums), self.keep(limits),
            self.place(made.places),
        )  # fmt: skip
        return made

    def expectation(self, source: Planes, values: Sequence[float]) -> Planes:
        made = self.planes(1, source.height, source.width)
        self.step(
            "expectation", len(source.places), self.place(source.places), source.height, source.width, source.pitch,
            self.keep(values), made.places[0],
        )  # fmt: skip
        return made

    def propagate(self, source: Planes, gates: Planes) -> Planes:
        made = self.planes(len(source.places), source.height, source.width)
        self.step(
            "propagate", len(source.places), self.place(source.places), self.place(gates.places), source.height, source.width,
            source.pitch, self.place(made.places),
        )  # fmt: skip
        return made

    def stem(
        self, number: int, size: Tuple[int, int], first: np.ndarray, bias: np.ndarray, second: np.ndarray,
        second_bias: np.ndarray, limits: Tuple[float, float] = FREE,
    ) -> Planes:  # fmt: skip
        """Weights (inner, channels, 3, 3) and (outputs, inner, 3, 3)."""
        made = self.planes(len(second), *(-(-side // 2) for side in size))
        constants = [self.keep(each) for each in (first, bias, second, second_bias, limits)]
        self.step(
            "stem", number, first.shape[1], *size, len(first), len(second), made.height, made.width, made.pitch,
            self.place(made.places), *constants,
        )  # fmt: skip
        return made

    def export(self, number: int, planes: Planes) -> None:
        shape = (len(planes.places), planes.height, planes.width)
        self.step("export", number, *shape, planes.pitch, self.place(planes.places))

    def export_vector(self, number: int, source: int, count: int) -> None:
        self.step("export", number, 1, 1, count, count, self.place([source]))


def exits_program(number: int, own: np.ndarray, head: np.ndarray) -> Program:
    """Stage ``number`` of `tests.toy_graphs.write_exits`."""
    writer = Writer()
    source = writer.vector(len(own))
    shape = (3, SIDE, SIDE) if number == 1 else (len(own), 1, 1)
    planes = writer.place(source + np.arange(shape[0]) * shape[1] * shape[2])
    writer.step("import", 0, *shape, 1, *shape[1:], shape[2], planes)
    features = writer.linear(source, own.T, np.zeros(own.shape[1]), (0.0, np.inf))
    logits = writer.linear(features, head.T, np.zeros(head.shape[1]))
    writer.export_vector(0, logits, head.shape[1])
    writer.export_vector(1, features, own.shape[1])
    return writer.program(
        ["image" if number == 1 else f"features{number - 1}"], [f"logits{number}", f"features{number}"]
    )


def write_native(path: str, stages: Sequence[int] = (1, 2, 3)) -> Bundle:
    """The classifier of `write_exits`, of which these stages have a program beside their graph."""
    plain = write_exits(path + ".plain")
    programs = {
        k: encode(exits_program(k, own, head))
        for k, (own, head) in enumerate(exits_weights(3, 5), 1)
        if k in stages
    }
    files: Dict[str, bytes] = {
        name: plain.read_bytes(name) for name in plain.manifest.files if name.startswith(("stages", "golden"))
    }
    files.update({f"stages/stage{k}.native.program": data for k, data in programs.items()})
    changed = []
    for k, stage in enumerate(plain.manifest.stages, 1):
        own = (
            [
                Variant(
                    "native", f"stages/stage{k}.native.program", 32, "float32", len(programs[k]), (), "native"
                )
            ]
            if k in programs
            else []
        )
        changed.append(stage._replace(variants=(*stage.variants, *own)))
    shutil.rmtree(plain.path)
    return write_bundle(path, plain.manifest._replace(stages=tuple(changed)), files)
