"""A stage as a program of few steps over planes of numbers: what `export` writes for the backend `native`, and that runs.

A program has an arena of floats, in which every channel of a feature map is a *plane*: its rows one after the other, each followed
by ``pitch - width`` zeros, and zeros before the first and behind the last row. So a convolution that is padded with zeros reads, for
every output, the same plane at another distance, and channels are joined, picked and shuffled by naming other planes.

``words`` are the steps one after the other: a code of `STEPS`, the number of words with these two, and its arguments. *Table*
arguments are places in ``table``, which holds places in the arena; *constant* arguments are places in ``constants``, or -1.
"""

import io
import json
import zipfile
from typing import Dict, Iterator, NamedTuple, Tuple

import numpy as np

from edgekit.errors import BundleError

FORMAT = 3  # 2: what follows "export" in STEPS; 3: tensors that stay in the arena
LANES = 16  # a plane's rows together are filled up to a multiple of this; constants begin at multiples of it
# How many outputs of a convolution have their weights held together: few where a vector is of pixels, many where it is of outputs,
# which is better where there are few pixels.
FEW, MANY = 4, 16
WINOGRAD_ROWS, WINOGRAD_PARTS = 4, 6
SQUARE, SQUARE_PARTS = 4, 36

# Before a tap, a pooled or an averaged element is used, x becomes max(x * scale + shift, floor) where these are given.
STEPS = {
    # A network input or an earlier stage's output into planes: channel c, row y and column x of every stride are plane
    # planes[(c * stride + y) * stride + x]; what lies outside of the picture is zero.
    "import": ("input", "channels", "height", "width", "stride", "rows", "columns", "pitch", "planes"),
    # The same from planes of the arena.
    "phases": ("sources", "channels", "height", "width", "source_pitch", "stride", "rows", "columns", "pitch", "planes"),
    # unit_table holds UNIT for every group; `length` elements a plane; `mask` (constants) is 1 on pixels and 0 elsewhere, where
    # planes hold zeros before and after;
    # `limits` (constants) are the smallest and the largest result; `together` is FEW or MANY.
    "conv": ("length", "units", "unit_table", "mask", "limits", "together"),
    # kind 0: mean over the window (its padding counts where `counts`), 1: maximum.
    "pool": (
        "kind", "counts", "kernel", "stride", "padding", "height", "width", "source_pitch", "rows", "columns", "pitch",
        "channels", "sources", "planes", "scale", "shift", "floor",
    ),
    # The mean of every channel, one after the other in the arena at `to`: what is on the mask of `length`, divided by `count`.
    "mean": ("length", "count", "mask", "channels", "sources", "to", "scale", "shift", "floor"),
    "linear": ("outputs", "taps", "source", "to", "weight", "bias", "limits"),  # weight: (outputs, taps); limits as above
    "copy": ("count", "source", "to"),
    "export": ("output", "channels", "height", "width", "pitch", "planes"),
    # A convolution with a stride (1 or 2) that reads its maps as they lie: rows x columns pixels, of which the one in row y and column x
    # reads around y * stride * source_pitch + x * stride of every tap's plane. Units as those of "conv" with MANY, without scales.
    "strided": ("rows", "columns", "pitch", "stride", "source_pitch", "units", "unit_table", "limits"),
    # What follows writes a plane's pixels, and what lies between and around them stays as it is.
    #
    # Bilinear, up or down: row r and column q of every channel are
    #     top    = p[i][k] + h * (p[i][l] - p[i][k])      i, j = row_table[2 r], row_table[2 r + 1];  v = row_weights[r]
    #     bottom = p[j][k] + h * (p[j][l] - p[j][k])      k, l = column_table[2 q], [2 q + 1];        h = column_weights[q]
    #     max((top + v * (bottom - top)) * scale + shift, floor) + addend
    # with scale, shift and floor (constants) a channel, all -1 where there are none. Both tables are in `table` and lie within the
    # picture, both weights are constants. It reads a network input of channels x height x width where `input` is not -1
    # (`source_pitch` is its width and `sources` -1), else planes. `addend` is a network input of channels x rows x columns, or -1.
    # It writes an output of channels x rows x columns where `output` is not -1 (`pitch` is `columns` and `planes` -1), else planes.
    "resize": (
        "input", "sources", "channels", "height", "width", "source_pitch", "row_table", "row_weights", "column_table",
        "column_weights", "scale", "shift", "floor", "addend", "output", "rows", "columns", "pitch", "planes",
    ),
    # Row y and column x of every source, height x width, are row x and column y of its plane: `pitch` is that of rows of `height`.
    "transpose": ("channels", "sources", "height", "width", "source_pitch", "planes", "pitch"),
    # Costs of a stereo match, `slices` planes: pixel (y, x) of plane s is
    #     min(max(sums[0] * (sum over c of |left_c[y][x] - right_c[y][x - d]|) + sums[1], limits[0]), limits[1])
    # with d = first + step * s, and step 1 or -1. `disparity` is -1, or the place of a plane that adds its pixel (y, x) to d. Then
    # with p = x - disparity[y][x], a = p - floor(p) and k = floor(p) - first - step * s, right_c[y][x - d] is
    # right_c[y][k] + a * (right_c[y][k + 1] - right_c[y][k]), where p is first limited to -FAR .. width + FAR and is -FAR where it is
    # not a number, FAR = |first| + slices + 1. Left of column 0 and from `width` on, right_c is zero. All planes have the same pitch.
    "volume": (
        "left", "right", "channels", "height", "width", "pitch", "disparity", "first", "step", "slices", "sums", "limits", "planes",
    ),
    # (sum over s of exp(x_s - m) * values[s]) / (sum over s of exp(x_s - m)) with m the largest of all x_s, slice by slice pixels of
    # planes; `to` is the place of one plane with the same pitch; `values` are constants.
    "expectation": ("slices", "sources", "height", "width", "pitch", "values", "to"),
    # Spatial propagation (Liu et al., arXiv 1710.01020) from each row t to the next, of `channels` planes with as many results and
    # three times as many gates: those of a channel's neighbours at i - 1 (a), at i (l) and at i + 1 (b), each for all channels. With
    # n = |a| + |l| + |b| + 1e-8, every gate is divided by n, then a is zero at i = 0, b at i = width - 1, and all three at t = 0:
    #     h[t][i] = (1 - a - l - b) * x[t][i] + a * h[t - 1][i - 1] + l * h[t - 1][i] + b * h[t - 1][i + 1]
    "propagate": ("channels", "sources", "gates", "height", "width", "pitch", "planes"),
    # Two 3x3 convolutions of a network input at once, each padded with one zero: to `inner` maps of its size, which are at least
    # zero, and from these with a stride of two to `outputs` planes, limited as in "conv": rows = (height + 1) // 2, columns likewise.
    # Constants: weight (inner, channels, 3, 3), bias (inner,), second (outputs, inner, 3, 3), second_bias (outputs,).
    "stem": (
        "input", "channels", "height", "width", "inner", "outputs", "rows", "columns", "pitch", "planes", "weight", "bias",
        "second", "second_bias", "limits",
    ),
    # Windows of three by three by Winograd's F(4, 3) along the columns (Lavin and Gray, arXiv 1509.09308). `unit_table` holds UNIT for
    # every group, without scales: its taps are planes, all three by three pixels around a pixel are read of each, zeros outside of the
    # picture. Four rows of a result are A (sum of G w * B x) of six rows x, with the matrices of the points 0, 1, -1, 2, -2 and
    # infinity. `weight` holds, for FEW outputs at once as in "conv", for each of WINOGRAD_PARTS rows of G w, for each tap, for the three
    # columns of its window, these outputs. `limits` as in "conv".
    "winograd": ("height", "width", "pitch", "units", "unit_table", "limits"),
    # The same by Winograd's F(4x4, 3x3), in two steps. Squares of SQUARE by SQUARE pixels are numbered row by row; there are as many as
    # cover a plane, and `room` for the next multiple of MANY. A square of the six by six pixels D from one row and one column before its
    # own on, zeros outside of the picture, has the SQUARE_PARTS parts B D Bt. Part k of plane c and square q is written to
    # to + k * (channels * room + LANES) + c * room + q.
    "squares": ("channels", "sources", "height", "width", "pitch", "to"),
    # Squares of results are A P At + bias, limited as in "conv": P_k is the sum over c of part k of plane c, which "squares" has written
    # to `source`, with weight k of plane c. `weight` holds for MANY outputs at once, for each part, for each plane, these outputs, the
    # last MANY filled up with zeros, as their biases are.
    "squared": (
        "channels", "source", "outputs", "planes", "height", "width", "pitch", "weight", "bias", "limits",
    ),
    # "strided" whose weights are whole numbers of two bytes, two in the place of a constant: where they are used for few pixels, their way
    # from memory is what takes the time. `scale` (constants) of its units holds what an output's numbers are multiplied with, 0 for those
    # that fill the last MANY up.
    "halved": ("rows", "columns", "pitch", "stride", "source_pitch", "units", "unit_table", "limits"),
    # So many of the steps that follow may run at the same time: none of them reads or writes what another one writes.
    "group": ("steps",),
}  # fmt: skip
CODES = {name: code for code, name in enumerate(STEPS)}

# A group of a convolution: `outputs` planes and `taps` places to read (table); weights (constants) of FEW or MANY outputs at once, tap
# after tap, the last FEW with as many as are left and the last MANY filled up with zeros, as their biases are; scale, shift and floor a
# tap (all -1 where there are none).
UNIT = ("outputs", "taps", "output_table", "tap_table", "weight", "bias", "scale", "shift", "floor")


class Resident(NamedTuple):
    """A tensor (1, channels, height, width) that one stage leaves in the arena and later ones read there, where no step moves it.

    Attributes:
        pitch: from a row to the next.
        planes: where the places of its channels begin in ``table``.
    """

    name: str
    channels: int
    height: int
    width: int
    pitch: int
    planes: int


class Program(NamedTuple):
    """One stage's program.

    Attributes:
        inputs, outputs: what it reads and writes, in the order of their numbers, residents among them.
        words, table: int32; constants: float32.
        arena: how many floats it has.
        packed: the most taps of a unit with ``scale``.
        layout: programs with the same one may run one after the other on one arena, and find their residents there; "" for a
            program without any.
        residents: those of its inputs and outputs that stay in the arena.
        overwritten: residents of earlier stages that are not there any more once this program has begun.
    """

    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    words: np.ndarray
    table: np.ndarray
    constants: np.ndarray
    arena: int
    packed: int
    layout: str = ""
    residents: Tuple[Resident, ...] = ()
    overwritten: Tuple[str, ...] = ()


def floats_of_squares(height: int, width: int, channels: int) -> int:
    """How many floats the parts of so many planes have; see "squares" in `STEPS`."""
    count = -(-height // SQUARE) * -(-width // SQUARE)
    return SQUARE_PARTS * (channels * -(-count // MANY) * MANY + LANES)


def steps_of(program: Program) -> Iterator[Tuple[str, Dict[str, int]]]:
    """The names of a sound program's steps, and their arguments by name."""
    names, at = list(STEPS), 0
    while at < len(program.words):
        name, length = names[program.words[at]], int(program.words[at + 1])
        yield name, dict(zip(STEPS[name], map(int, program.words[at + 2 : at + length])))
        at += length


def encode(program: Program) -> bytes:
    """The program as a file; equal programs are equal files."""
    head = {
        "format": FORMAT, "inputs": list(program.inputs), "outputs": list(program.outputs), "arena": program.arena, "packed": program.packed,
        "layout": program.layout, "residents": [list(one) for one in program.residents], "overwritten": list(program.overwritten),
    }  # fmt: skip
    arrays = {
        "words": program.words.astype("<i4"), "table": program.table.astype("<i4"), "constants": program.constants.astype("<f4"),
    }  # fmt: skip
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("program.json"), json.dumps(head))  # dated 1980
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            zipped.writestr(zipfile.ZipInfo(name + ".npy"), content.getvalue())
    return archive.getvalue()


def decode(data: bytes, source: str) -> Program:
    """The program in a file; ``source`` names it in errors.

    Raises:
        BundleError: it is none, or of a newer format.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            head = json.loads(zipped.read("program.json").decode("utf-8"))
            if head["format"] > FORMAT:
                raise BundleError(
                    "{}: a program of format {}, this edgekit reads up to {}; install a newer one".format(
                        source, head["format"], FORMAT
                    )
                )
            arrays: Dict[str, np.ndarray] = {
                name: np.lib.format.read_array(io.BytesIO(zipped.read(name + ".npy")), allow_pickle=False)
                for name in ("words", "table", "constants")
            }
            residents = tuple(
                Resident(str(name), *map(int, numbers)) for name, *numbers in head.get("residents", ())
            )
            return Program(
                tuple(map(str, head["inputs"])), tuple(map(str, head["outputs"])), arena=int(head["arena"]), packed=int(head["packed"]),
                layout=str(head.get("layout", "")), residents=residents, overwritten=tuple(map(str, head.get("overwritten", ()))),
                **arrays,
            )  # fmt: skip
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{source}: not a program of edgekit ({error}); export the bundle again") from error
