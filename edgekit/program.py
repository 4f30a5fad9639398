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

FORMAT = 2
LANES = 16  # a plane's rows together are filled up to a multiple of this; constants begin at multiples of it
# How many outputs of a convolution have their weights held together: few where a vector is of pixels, many where it is of outputs,
# which is better where there are few pixels.
FEW, MANY = 4, 16

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
}  # fmt: skip
CODES = {name: code for code, name in enumerate(STEPS)}

# A group of a convolution: `outputs` planes and `taps` places to read (table); weights (constants) of FEW or MANY outputs at once, tap
# after tap, the last FEW with as many as are left and the last MANY filled up with zeros, as their biases are; scale, shift and floor a
# tap (all -1 where there are none).
UNIT = ("outputs", "taps", "output_table", "tap_table", "weight", "bias", "scale", "shift", "floor")


class Program(NamedTuple):
    """One stage's program.

    Attributes:
        inputs, outputs: what it reads and writes, in the order of their numbers.
        words, table: int32; constants: float32.
        arena: how many floats it has.
        packed: the most taps of a unit with ``scale``.
    """

    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    words: np.ndarray
    table: np.ndarray
    constants: np.ndarray
    arena: int
    packed: int


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
            return Program(
                tuple(map(str, head["inputs"])), tuple(map(str, head["outputs"])), arena=int(head["arena"]), packed=int(head["packed"]), **arrays
            )  # fmt: skip
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(f"{source}: not a program of edgekit ({error}); export the bundle again") from error
