"""The backend `native`: what its kernels compute, and what becomes of frames, threads and mistakes."""

import gc
import threading
from pathlib import Path
from typing import Iterator, Tuple

import numpy as np
import pytest

import edgekit
from edgekit import cli
from edgekit.bundle import Bundle, StageSpec, TensorSpec, read_bundle, write_bundle
from edgekit.errors import BackendError, BundleError, OptionError
from edgekit.program import FEW, MANY, Program, encode
from edgekit.runtime.backends import Backend, StageCancelled, open_backend
from edgekit.runtime.loading import read_golden
from tests.runtime.programs import Before, Planes, Writer, write_native
from tests.runtime.scenes import wrong_answers_to_threads


@pytest.fixture(autouse=True)
def _compiler(needs_compiler: None) -> None:
    """Nothing here runs without one."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_native(str(tmp_path_factory.mktemp("bundles") / "native.edgekit"))


@pytest.fixture
def loaded(bundle: Bundle) -> Iterator[Backend]:
    with open_backend("native", threads=2) as backend:
        load(backend, bundle)
        yield backend


def load(backend: Backend, bundle: Bundle) -> None:
    for stage in bundle.manifest.stages:
        graph = f"stages/{stage.name}.native.program"
        backend.load(stage, bundle.read_bytes(graph), graph)


def stage_of(program: Program, *shapes: Tuple[int, ...]) -> StageSpec:
    """The only stage of a network that is this program, whose outputs have these shapes."""
    outputs = [TensorSpec(name, "float32", shape, "NCHW") for name, shape in zip(program.outputs, shapes)]
    return StageSpec("stage1", program.inputs, program.outputs[0], tuple(outputs), 1, 1, (), {})


def computed(program: Program, shape: Tuple[int, ...], image: np.ndarray, threads: int = 2) -> np.ndarray:
    """The only output of a program for this image."""
    with open_backend("native", threads=threads, spin=False) as backend:
        backend.load(stage_of(program, shape), encode(program), "toy.program")
        frame = backend.start({"image": image})
        frame.run("stage1")
        return frame.read("out")


def picture(*shape: int) -> np.ndarray:
    return np.random.RandomState(sum(shape)).randn(1, *shape).astype(np.float32)


def written(writer: Writer, planes: Planes) -> Tuple[Program, Tuple[int, ...]]:
    """What a writer has written, and its last planes as the only output."""
    writer.export(0, planes)
    return writer.program(["image"], ["out"]), (1, len(planes.places), planes.height, planes.width)


# --- What the kernels compute, against numpy --------------------------------------------------------------------------


def convolved(
    image: np.ndarray, weights: np.ndarray, bias: np.ndarray, groups: int = 1, stride: int = 1
) -> np.ndarray:
    """A convolution padded to its own size, by its definition; image (channels, H, W)."""
    outputs, within, side, _ = weights.shape
    padded = np.pad(image.astype(np.float64), ((0, 0), (side // 2,) * 2, (side // 2,) * 2), "constant")
    height, width = image.shape[1:]
    found = np.empty((outputs, height, width))
    for o in range(outputs):
        first = o // (outputs // groups) * within
        of_group = padded[first : first + within]
        for y in range(height):
            for x in range(width):
                found[o, y, x] = (of_group[:, y : y + side, x : x + side] * weights[o]).sum() + bias[o]
    return found[:, ::stride, ::stride]


def after(image: np.ndarray, before: Before) -> np.ndarray:
    scale, shift, floor = (each[:, None, None] for each in before)
    return np.maximum(image * scale + shift, floor)


def weights_of(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "height, width, outputs, side",
    [(7, 7, 40, 3), (4, 4, 70, 3), (1, 1, 16, 3), (13, 31, 33, 1), (9, 22, 5, 3)],
)
def test_a_strided_convolution_reads_maps_as_they_lie(
    height: int, width: int, outputs: int, side: int, threads: int, stride: int
) -> None:
    image, bias = picture(3, height, width), weights_of(2, outputs)
    weights = weights_of(1, outputs, 3, side, side)
    writer = Writer()
    made = writer.strided(writer.picture(0, (3, height, width)), weights, bias, (-1.0, 2.0), stride)
    found = computed(*written(writer, made), image, threads)[0]
    wanted = np.clip(convolved(image[0], weights, bias, stride=stride), -1, 2)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


BEFORE = (
    np.array([1.5, -0.5, 2.0, 1.0], np.float32),
    np.array([0.0, 0.3, -0.2, 1.0], np.float32),
    np.array([0.0, 0.0, -np.inf, 0.5], np.float32),
)


@pytest.mark.parametrize("together", [FEW, MANY])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(
    "height, width, outputs", [(7, 9, 5), (1, 1, 4), (16, 40, 8), (33, 3, 1), (20, 31, 37)]
)
def test_a_convolution_is_that_of_its_definition(
    threads: int, height: int, width: int, outputs: int, together: int
) -> None:
    image, weights, bias = (
        picture(3, height, width),
        weights_of(1, outputs, 3, 3, 3),
        weights_of(2, outputs),
    )
    writer = Writer()
    source = writer.picture(0, (3, height, width))
    program, shape = written(writer, writer.convolution(source, weights, bias, together=together))
    found = computed(program, shape, image, threads)
    np.testing.assert_allclose(found[0], convolved(image[0], weights, bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("together", [FEW, MANY])
def test_a_grouped_convolution_reads_each_groups_own_channels_as_the_layer_before_leaves_them(
    together: int,
) -> None:
    image, weights, bias = picture(4, 11, 13), weights_of(3, 6, 2, 1, 1), weights_of(4, 6)
    writer = Writer()
    source = writer.picture(0, (4, 11, 13))
    made = writer.convolution(source, weights, bias, 2, (-1.0, 2.0), BEFORE, together)
    program, shape = written(writer, made)
    wanted = np.clip(convolved(after(image[0], BEFORE), weights, bias, groups=2), -1, 2)
    np.testing.assert_allclose(computed(program, shape, image)[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_convolution_of_stride_two_is_the_sum_of_its_phases() -> None:
    image, weights = picture(4, 8, 10), weights_of(5, 5, 4, 1, 1)
    writer = Writer()
    phases = writer.halves(writer.picture(0, (4, 8, 10)))
    program, shape = written(writer, writer.convolution(phases[0], weights, np.zeros(5, np.float32)))
    wanted = convolved(image[0], weights, np.zeros(5), stride=2)
    np.testing.assert_allclose(computed(program, shape, image)[0], wanted, rtol=1e-4, atol=1e-5)
    for number, phase in enumerate(phases):
        other = Writer()
        program, shape = written(other, other.halves(other.picture(0, (4, 8, 10)))[number])
        row, column = divmod(number, 2)
        assert np.array_equal(computed(program, shape, image)[0], image[0, :, row::2, column::2]), phase


@pytest.mark.parametrize("before", [None, BEFORE])
@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (4, 4, 0)])
@pytest.mark.parametrize("kind", [0, 1])
def test_pooling_is_that_of_its_definition(
    kind: int, kernel: int, stride: int, padding: int, before: Before
) -> None:
    image = picture(4, 9, 12)
    writer = Writer()
    made = writer.pool(writer.picture(0, (4, 9, 12)), kind, kernel, stride, padding, before)
    program, shape = written(writer, made)
    source = image[0] if before is None else after(image[0], before)
    around = ((0, 0), (padding,) * 2, (padding,) * 2)
    padded = np.pad(source, around, "constant", constant_values=-np.inf if kind else 0)
    wanted = np.empty(shape[1:])
    for y in range(shape[2]):
        for x in range(shape[3]):
            window = padded[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            wanted[:, y, x] = window.max((1, 2)) if kind else window.sum((1, 2)) / kernel**2
    np.testing.assert_allclose(computed(program, shape, image)[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_mean_and_a_linear_layer_are_those_of_their_definitions() -> None:
    image, weights, bias = picture(4, 9, 12), weights_of(6, 37, 4), weights_of(7, 37)
    writer = Writer()
    logits = writer.linear(writer.mean(writer.picture(0, (4, 9, 12)), BEFORE), weights, bias, (-1.0, 1.0))
    copy = writer.vector(37)
    writer.step("copy", 37, logits, copy)
    writer.export_vector(0, copy, 37)
    found = computed(writer.program(["image"], ["out"]), (1, 37), image)
    wanted = np.clip(weights @ after(image[0], BEFORE).mean((1, 2)) + bias, -1, 1)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)


# --- Sessions and frames ----------------------------------------------------------------------------------------------


def test_a_session_gives_the_golden_answers(bundle: Bundle) -> None:
    with edgekit.load(bundle.path, backend="native", threads=2) as session:
        inputs, exits = session.golden()
        result = session.infer(**inputs)
        assert session.backend.name == "native" and session.fingerprint.backend.startswith("native ")
        assert set(session.variants.values()) == {"native"}
    for stage, wanted in exits.items():
        np.testing.assert_allclose(result.exits[stage], wanted, rtol=1e-4, atol=1e-5)


def test_frames_have_tensors_of_their_own_which_outlive_the_backend(bundle: Bundle) -> None:
    inputs, exits = read_golden(bundle)
    backend = open_backend("native", threads=2)
    load(backend, bundle)
    first, second = backend.start(inputs), backend.start({name: 2 * one for name, one in inputs.items()})
    first.run("stage1")
    kept = first.read("logits1")
    second.run("stage1")
    first.run("stage2")
    assert first.read("logits1") is kept
    np.testing.assert_allclose(second.read("logits1"), 2 * exits["stage1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first.read("logits2"), exits["stage2"], rtol=1e-4, atol=1e-5)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="stage3 is not loaded"):
        first.run("stage3")
    del first, second, backend
    gc.collect()
    np.testing.assert_allclose(kept, exits["stage1"], rtol=1e-4, atol=1e-5)


def test_threads_that_share_a_stage_get_their_own_answers(loaded: Backend, bundle: Bundle) -> None:
    assert not wrong_answers_to_threads(loaded, bundle, "logits1")


def test_a_backend_that_is_closed_while_stages_run_ends_them_in_a_sentence(bundle: Bundle) -> None:
    inputs, _ = read_golden(bundle)
    backend = open_backend("native", threads=3)
    load(backend, bundle)
    begun, said = threading.Semaphore(0), []

    def work() -> None:
        frame = backend.start(inputs)
        try:
            while True:
                frame.run("stage1")
                begun.release()
        except BackendError as error:
            said.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.acquire()
    backend.close()
    for thread in threads:
        thread.join()
    assert len(said) == 3 and all("was the session closed" in one or "were closed" in one for one in said)


def endless() -> Tuple[Program, Tuple[int, ...]]:
    """A program of some hundred ms."""
    writer = Writer()
    planes = writer.picture(0, (32, 64, 64))
    weights, bias = weights_of(8, 32, 32, 3, 3) * 0.01, np.zeros(32, np.float32)
    for _ in range(40):
        planes = writer.convolution(planes, weights, bias)
    return written(writer, planes)


def test_a_cancelled_stage_stops_and_the_next_frame_runs() -> None:
    program, shape = endless()
    with open_backend("native", threads=2) as backend:
        backend.load(stage_of(program, shape), encode(program), "toy.program")
        image = picture(32, 64, 64)
        frame, stopped = backend.start({"image": image}), threading.Event()

        def work() -> None:
            try:
                while True:  # without the cancellation this never ends
                    frame.run("stage1")
            except StageCancelled:
                stopped.set()

        thread = threading.Thread(target=work)
        thread.start()
        frame.cancel()
        thread.join(60)
        assert stopped.is_set()
        following, again = backend.start({"image": image}), backend.start({"image": image})
        for one in (following, again):
            one.run("stage1")
        assert np.array_equal(following.read("out"), again.read("out"))


def test_a_cancelled_frame_begins_no_stage(loaded: Backend, bundle: Bundle) -> None:
    frame = loaded.start(read_golden(bundle)[0])
    frame.cancel()
    with pytest.raises(StageCancelled):
        frame.run("stage1")


def test_inputs_that_may_not_be_written_or_lie_in_another_order_are_taken(
    loaded: Backend, bundle: Bundle
) -> None:
    inputs, exits = read_golden(bundle)
    for image in (np.asfortranarray(inputs["image"]), inputs["image"][:, ::-1][:, ::-1]):
        image.flags.writeable = False
        frame = loaded.start({"image": image})
        frame.run("stage1")
        np.testing.assert_allclose(frame.read("logits1"), exits["stage1"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 3, 6, 6)),
        np.zeros((1, 3, 6, 6), ">f4"),
        np.zeros((1, 3, 6, 5), np.float32),
        np.zeros((2, 3, 6, 6), np.float32),
        np.zeros((1, 6, 3, 6), np.float32),
        np.zeros((), np.float32),
        np.zeros((1, 108), np.float32),
    ],
)
def test_an_input_that_the_program_cannot_read_is_an_error(loaded: Backend, image: np.ndarray) -> None:
    with pytest.raises(BackendError, match="stage1 failed: image is read as 1 x 3 x 6 x 6 float32, and is"):
        loaded.start({"image": image}).run("stage1")


# --- What is refused --------------------------------------------------------------------------------------------------


def test_what_is_no_program_is_named(bundle: Bundle) -> None:
    stage = bundle.manifest.stages[0]
    whole = bundle.read_bytes("stages/stage1.native.program")
    with open_backend("native", threads=1) as backend:
        for data in (b"", b"no program", whole[:-40], bundle.read_bytes("stages/stage1.onnx")):
            with pytest.raises(BundleError, match=r"x/stage1.program: not a program"):
                backend.load(stage, data, "x/stage1.program")
        with pytest.raises(BackendError, match="stage1 reads features1, the manifest says image"):
            backend.load(stage, bundle.read_bytes("stages/stage2.native.program"), "stage2.program")


def test_options_that_are_another_backends_or_nonsense_are_refused() -> None:
    with pytest.raises(OptionError, match='option of backend="onnxruntime"'):
        open_backend("native", providers=["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="positive whole number"):
        open_backend("native", threads=0)


def test_a_stage_without_a_program_is_named_with_the_graphs_that_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_native(str(tmp_path / "partly.edgekit"), stages=(1, 3))
    for variants in (None, {"stage2": "plain"}):
        with pytest.raises(BackendError, match=r"stage2 has no program for native, only graphs \(plain\)"):
            edgekit.load(bundle.path, backend="native", variants=variants)
    with pytest.raises(OptionError, match="stage1's plain is not for native, which can take native"):
        edgekit.load(bundle.path, backend="native", variants={"stage1": "plain"})
    assert cli.main(["verify", bundle.path, "--backend", "native", "--all-variants"]) == 1
    assert "stage2 has no program" in capsys.readouterr().out


def test_a_manifest_that_contradicts_the_program_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    stages = list(bundle.manifest.stages)
    outputs = tuple(spec._replace(dtype="float16") for spec in stages[0].outputs)
    stages[0] = stages[0]._replace(outputs=outputs)
    files = {
        name: bundle.read_bytes(name)
        for name in bundle.manifest.files
        if name.startswith(("stages", "golden"))
    }
    changed = write_bundle(
        str(tmp_path / "half.edgekit"), bundle.manifest._replace(stages=tuple(stages)), files
    )
    with pytest.raises(BackendError, match="native writes float32"):
        edgekit.load(read_bundle(changed.path).path, backend="native")


def test_every_verb_works_on_it(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture.ppm").write_bytes(b"P6 8 8 255\n" + bytes(range(192)))
    for verb, said, *options in (
        ("verify", "answers on native ", "--backend", "native"),
        ("bench", "native ", "--backend", "native", "--runs", "3", "--warmup", "0", "--no-profile"),
        ("run", "stage3 answered", "--backend", "native", "--image", str(tmp_path / "picture.ppm")),
        ("inspect", "stages/stage2.native.program", "--json"),
        ("doctor", "native         kernels"),
    ):
        assert cli.main([verb, *([] if verb == "doctor" else [bundle.path]), *options]) == 0
        assert said in capsys.readouterr().out
