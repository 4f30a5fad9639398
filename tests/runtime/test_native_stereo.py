"""What native's kernels for stereo networks compute, against numpy's sums by the definitions in `edgekit.program`."""

from typing import Dict, List, Optional, Tuple

import numpy as np
import pytest

from edgekit.bundle import StageSpec, TensorSpec
from edgekit.program import Program, encode
from edgekit.runtime.backends import open_backend
from tests.runtime.programs import Axis, Before, Planes, Writer

Shape = Tuple[int, int, int]
THREADS = [1, 2, 5]


@pytest.fixture(autouse=True)
def _compiler(needs_compiler: None) -> None:
    """Nothing here runs without one."""


def computed(program: Program, inputs: Dict[str, np.ndarray], shape: Shape, threads: int = 2) -> np.ndarray:
    """The only output of a program, from its second run: what the first one left must not matter."""
    outputs = (TensorSpec("out", "float32", (1, *shape), "NCHW"),)
    with open_backend("native", threads=threads, spin=False) as backend:
        backend.load(
            StageSpec("stage1", program.inputs, "out", outputs, 1, 1, (), {}), encode(program), "toy.program"
        )
        for _ in range(2):
            frame = backend.start(inputs)
            frame.run("stage1")
        found: np.ndarray = frame.read("out")[0]
        return found


def picture(*shape: int) -> np.ndarray:
    return np.random.RandomState(sum(shape)).randn(1, *shape).astype(np.float32)


def of_planes(writer: Writer, made: Planes, image: np.ndarray, threads: int = 2) -> np.ndarray:
    """What the planes hold that a writer has written last, for this input; what lies between them must have stayed zero."""
    # Every plane once more, from the column before its first one on.
    writer.export(0, made._replace(places=np.concatenate([made.places, made.places - 1])))
    shape = (2 * len(made.places), made.height, made.width)
    found = computed(writer.program(["image"], ["out"]), {"image": image}, shape, threads)
    own, shifted = np.split(found, 2)
    assert not shifted[..., 0].any() and np.array_equal(own[..., :-1], shifted[..., 1:])
    return own


# --- Resizing ---------------------------------------------------------------------------------------------------------


def bilinear(outputs: int, inputs: int, corners: bool = False) -> Axis:
    """As torch's ``interpolate`` reads, with or without aligned corners."""
    place = np.arange(outputs) * ((inputs - 1) / max(outputs - 1, 1))
    if not corners:
        place = np.clip((np.arange(outputs) + 0.5) * inputs / outputs - 0.5, 0, None)
    first = np.minimum(place.astype(int), inputs - 1)
    return np.stack([first, np.minimum(first + 1, inputs - 1)], 1), (place - first).astype(np.float32)


def scattered(outputs: int, inputs: int) -> Axis:
    random = np.random.RandomState(outputs)
    return random.randint(inputs, size=(outputs, 2)), random.rand(outputs).astype(np.float32)


def untouched(count: int) -> Axis:
    return np.repeat(np.arange(count), 2).reshape(-1, 2), np.zeros(count, np.float32)


def resized(image: np.ndarray, rows: Axis, columns: Axis, before: Optional[Before] = None) -> np.ndarray:
    found = image.astype(np.float64)
    for axis, (pairs, weights) in ((1, rows), (2, columns)):
        near, far = (np.take(found, pairs[:, k], axis) for k in (0, 1))
        found = near + (far - near) * weights.reshape([-1 if k == axis else 1 for k in range(3)])
    if before is None:
        return found
    scale, shift, floor = (each[:, None, None] for each in before)
    return np.maximum(found * scale + shift, floor)


BEFORE = np.array([1.5, -0.5]), np.array([0.1, 0.3]), np.array([0.0, -np.inf])
SIDES = [
    ((2, 6, 20), bilinear(24, 6), bilinear(80, 20)),
    ((2, 3, 5), bilinear(48, 3), bilinear(80, 5)),
    ((2, 24, 78), bilinear(48, 24, corners=True), bilinear(156, 78, corners=True)),
    ((2, 40, 132), bilinear(10, 40), bilinear(33, 132)),
    ((2, 7, 9), bilinear(5, 7), bilinear(4, 9)),
    ((2, 1, 1), bilinear(3, 1), bilinear(17, 1)),
    ((2, 35, 33), untouched(35), untouched(33)),
    ((2, 9, 33), untouched(9), untouched(20)),
    ((2, 9, 200), scattered(20, 9), scattered(210, 200)),
    ((2, 9, 200), scattered(20, 9), scattered(100, 200)),
]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape, rows, columns", SIDES)
def test_resizing_is_bilinear_along_both_axes(shape: Shape, rows: Axis, columns: Axis, threads: int) -> None:
    image = picture(*shape)
    for before in (None, BEFORE):
        for imported in (False, True):
            writer = Writer()
            source = writer.picture(0, shape) if imported else 0
            made = writer.resize(source, shape, rows, columns, before=before)
            np.testing.assert_allclose(
                of_planes(writer, made, image, threads),
                resized(image[0], rows, columns, before),
                rtol=1e-5,
                atol=1e-5,
            )


@pytest.mark.parametrize("shape, rows, columns", SIDES)
def test_a_tensor_is_added_to_what_is_resized_into_an_output(shape: Shape, rows: Axis, columns: Axis) -> None:
    to = (shape[0], len(rows[1]), len(columns[1]))
    inputs = {"image": picture(*shape), "more": picture(*to) + 1}
    writer = Writer()
    writer.resize(0, shape, rows, columns, to=0, before=BEFORE, addend=1)
    found = computed(writer.program(["image", "more"], ["out"]), inputs, to)
    wanted = resized(inputs["image"][0], rows, columns, BEFORE) + inputs["more"][0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 5, 40), (2, 33, 17), (2, 16, 32)])
def test_transposed_planes_have_columns_as_rows(shape: Shape, threads: int) -> None:
    image = picture(*shape)
    writer = Writer()
    found = of_planes(writer, writer.transpose(writer.picture(0, shape)), image, threads)
    assert np.array_equal(found, image[0].transpose(0, 2, 1))


# --- Costs and what is expected of them -------------------------------------------------------------------------------


def costs(
    left: np.ndarray, right: np.ndarray, disparity: np.ndarray, first: int, step: int, slices: int
) -> np.ndarray:
    """(C, H, W) of both views and the disparity (H, W) to (slices, H, W)."""
    channels, height, width = left.shape
    found = np.zeros((slices, height, width))
    far = first + slices + 1
    for y in range(height):
        for x in range(width):
            place = float(np.float32(x) - disparity[y, x])
            place = -far if np.isnan(place) else min(max(place, -far), width + far)
            whole = int(np.floor(place))
            for s in range(slices):
                k = whole - first - step * s
                two = [right[:, y, at] if 0 <= at < width else np.zeros(channels) for at in (k, k + 1)]
                sample = two[0] + (place - whole) * (two[1] - two[0])
                found[s, y, x] = np.abs(left[:, y, x] - sample).sum()
    return found


ODD = [np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, -(2.0**33), 1e-30, -1e-9, 40.0, -40.5]


def disparities(kind: str, height: int, width: int) -> np.ndarray:
    random = np.random.RandomState(width)
    if kind == "smooth":
        return np.linspace(-2, width / 2, height * width).reshape(height, width).astype(np.float32)
    if kind == "rough":
        return random.uniform(-width, width, (height, width)).astype(np.float32)
    return np.resize(np.array(ODD, np.float32), (height, width))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("kind", ["smooth", "rough", "odd"])
@pytest.mark.parametrize("first, step, slices", [(2, -1, 5), (0, 1, 4), (3, 1, 1), (40, -1, 33)])
@pytest.mark.parametrize("width", [1, 16, 37])
def test_a_volume_around_a_disparity_compares_with_samples_there(
    width: int, first: int, step: int, slices: int, kind: str, threads: int
) -> None:
    image = picture(5, 3, width)
    image[0, 4] = disparities(kind, 3, width)
    writer = Writer()
    maps = writer.picture(0, (5, 3, width))
    left, right, disparity = (maps._replace(places=maps.places[a:b]) for a, b in ((0, 2), (2, 4), (4, 5)))
    sums, limits = (0.5, 0.25), (0.5, 2.0)
    made = writer.volume(left, right, disparity, first, step, slices, sums, limits)
    found = of_planes(writer, made, image, threads)
    wanted = costs(image[0, :2], image[0, 2:4], image[0, 4], first, step, slices)
    np.testing.assert_allclose(found, np.clip(wanted * 0.5 + 0.25, 0.5, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("first, step, slices", [(0, 1, 12), (2, -1, 5)])
@pytest.mark.parametrize("width", [1, 9, 50])
def test_a_volume_of_whole_shifts_compares_with_these(
    width: int, first: int, step: int, slices: int, threads: int
) -> None:
    image = picture(6, 4, width)
    writer = Writer()
    maps = writer.picture(0, (6, 4, width))
    left, right = (maps._replace(places=each) for each in np.split(maps.places, 2))
    found = of_planes(writer, writer.volume(left, right, None, first, step, slices), image, threads)
    wanted = costs(image[0, :3], image[0, 3:], np.zeros((4, width), np.float32), first, step, slices)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shape", [(1, 2, 3), (5, 7, 33), (12, 3, 16)])
@pytest.mark.parametrize("spread", [1e-3, 3.0, 100.0])
def test_an_expectation_is_that_of_a_softmax(shape: Shape, spread: float, threads: int) -> None:
    image = picture(*shape) * np.float32(spread)
    values = np.linspace(-3, 5, shape[0]).astype(np.float32)
    writer = Writer()
    found = of_planes(writer, writer.expectation(writer.picture(0, shape), values), image, threads)
    weights = np.exp(image[0].astype(np.float64) - image[0].max(0))
    wanted = (weights * values[:, None, None]).sum(0) / weights.sum(0)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-5)


# --- Propagation and the stem -----------------------------------------------------------------------------------------


def propagated(x: np.ndarray, gates: np.ndarray) -> np.ndarray:
    """(H, W) and (3, H, W): from row to row."""
    height, width = x.shape
    gates = gates / (np.abs(gates).sum(0) + 1e-8)
    gates[0, :, 0] = gates[2, :, -1] = gates[:, 0] = 0
    found = (1 - gates.sum(0)) * x
    for t in range(1, height):
        around = np.pad(found[t - 1], 1, "constant")
        found[t] += sum(gates[k, t] * around[k : k + width] for k in range(3))
    return found


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("channels, height, width", [(1, 1, 1), (2, 5, 1), (3, 20, 33), (8, 3, 96)])
def test_a_propagation_spreads_each_row_along_its_gates(
    channels: int, height: int, width: int, threads: int
) -> None:
    image = picture(4 * channels, height, width)
    image[0, channels:, 0] = 0  # gates that are all zero: nothing is spread, and nothing divided by zero
    writer = Writer()
    maps = writer.picture(0, image.shape[1:])
    x, gates = (maps._replace(places=maps.places[some]) for some in (slice(channels), slice(channels, None)))
    found = of_planes(writer, writer.propagate(x, gates), image, threads)
    own = image[0].astype(np.float64)
    wanted = [propagated(own[c], own[channels + c :: channels].copy()) for c in range(channels)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_propagation_forgets_numbers_that_are_none() -> None:
    """What a picture full of them leaves in the arena does not reach the next one."""
    shape = (4, 6, 19)
    writer = Writer()
    maps = writer.picture(0, shape)
    x, gates = (maps._replace(places=maps.places[some]) for some in (slice(1), slice(1, None)))
    made = writer.propagate(x, gates)
    writer.export(0, made)
    program = writer.program(["image"], ["out"])
    outputs = (TensorSpec("out", "float32", (1, 1, 6, 19), "NCHW"),)
    answers: List[np.ndarray] = []
    with open_backend("native", threads=2) as backend:
        backend.load(
            StageSpec("stage1", ("image",), "out", outputs, 1, 1, (), {}), encode(program), "toy.program"
        )
        for image in (picture(*shape), np.full((1, *shape), np.nan, np.float32), picture(*shape)):
            frame = backend.start({"image": image})
            frame.run("stage1")
            answers.append(frame.read("out"))
    assert np.isnan(answers[1]).all() and np.array_equal(answers[0], answers[2])


def windowed(image: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A 3x3 convolution padded with one zero."""
    height, width = image.shape[1:]
    padded = np.pad(image.astype(np.float64), ((0, 0), (1, 1), (1, 1)), "constant")
    found = np.zeros((len(weights), height, width)) + bias[:, None, None]
    for y in range(3):
        for x in range(3):
            found += np.tensordot(weights[:, :, y, x], padded[:, y : y + height, x : x + width], 1)
    return found


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(
    "height, width", [(1, 1), (2, 2), (5, 7), (38, 190), (40, 191), (33, 192), (64, 382), (6, 400)]
)
@pytest.mark.parametrize("channels, inner, outputs", [(3, 1, 1), (2, 3, 4)])
def test_a_stem_is_its_two_convolutions_one_after_the_other(
    channels: int, inner: int, outputs: int, height: int, width: int, threads: int
) -> None:
    random = np.random.RandomState(height)
    first, second = random.randn(inner, channels, 3, 3), random.randn(outputs, inner, 3, 3)
    bias, second_bias = random.randn(inner), random.randn(outputs)
    image = picture(channels, height, width)
    writer = Writer()
    made = writer.stem(0, (height, width), first, bias, second, second_bias, (-2.0, 3.0))
    found = of_planes(writer, made, image, threads)
    between = np.maximum(windowed(image[0], first, bias), 0)
    wanted = np.clip(windowed(between, second, second_bias)[:, ::2, ::2], -2, 3)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
