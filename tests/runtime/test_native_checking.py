"""Programs that would leave their own arrays are refused before the kernels see them, whatever is wrong with them."""

import os
import re
import subprocess
import sys
from typing import Callable, List, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.bundle import StageSpec, TensorSpec
from edgekit.errors import BundleError
from edgekit.kernels.checking import check_program, shapes_of_inputs
from edgekit.program import MANY, STEPS, Program, Resident, decode, encode
from edgekit.runtime.backends import open_backend
from edgekit.runtime.backends.native import Native
from tests.runtime.programs import Axis, Planes, Writer

IMAGE = (4, 6, 10)
LOGITS, MAP, DISPARITY, DOUBLE = (1, 7), (1, 5, 3, 5), (1, 1, 6, 10), (1, 4, 6, 10)


@pytest.fixture(autouse=True)
def _compiler(needs_compiler: None) -> None:
    """The kernels run what is not refused."""


def of_stereo(writer: Writer, maps: Planes, random: np.random.RandomState) -> Planes:
    """Every kind of step that stereo networks have; five maps of 3 x 5."""
    channels, height, width = len(maps.places), maps.height, maps.width
    weights = random.randn(2, IMAGE[0], 3, 3), np.zeros(2), random.randn(5, 2, 3, 3), np.zeros(5)
    stem = writer.stem(0, IMAGE[1:], *weights)
    down = (
        (
            np.array([[0, 1], [2, 3], [4, 5]]),
            np.full(3, 0.5),
        ),
        (np.arange(10).reshape(5, 2), np.full(5, 0.5)),
    )
    less = writer.resize(0, IMAGE, *down, before=(np.ones(4), np.zeros(4), np.zeros(4)))
    up = (np.array([[0, 0], [0, 1], [1, 1], [1, 2], [2, 2], [2, 2]]), np.full(6, 0.25))
    wide = (np.repeat(np.arange(5), 4).reshape(10, 2), np.full(10, 0.25))
    more = writer.resize(maps, (channels, height, width), up, wide)
    first, second = (more._replace(places=more.places[some]) for some in (slice(2), slice(2, 4)))
    costs = writer.volume(first, second, more._replace(places=more.places[4:]), 1, -1, 3)
    expected = writer.expectation(costs, [-1, 0, 1])
    writer.resize(expected, (1, 6, 10), *same(6, 10), to=2)
    writer.resize(0, IMAGE, *same(6, 10), to=3, addend=0)
    turned = writer.transpose(stem)
    one = turned._replace(places=turned.places[:1])
    spread = writer.transpose(writer.propagate(one, turned._replace(places=turned.places[1:4])))
    return stem._replace(places=np.concatenate([stem.places[:3], less.places[:1], spread.places]))


def same(*sides: int) -> List[Axis]:
    """What leaves these sides as they are."""
    return [(np.repeat(np.arange(side), 2), np.zeros(side)) for side in sides]


def toy() -> Program:
    """A program with every kind of step."""
    random = np.random.RandomState(0)
    before = (np.ones(4), np.zeros(4), np.zeros(4))
    writer = Writer()
    image = writer.picture(0, IMAGE)
    writer.group(2)
    layer = writer.convolution(image, random.randn(8, 4, 3, 3), np.zeros(8))
    grouped = writer.convolution(
        image, random.randn(8, 2, 1, 1), np.zeros(8), groups=2, before=before, together=MANY
    )
    pooled = writer.pool(layer, 1, 3, 2, 1)
    smaller = writer.pool(grouped, 0, 2, 2, 0, (np.ones(8), np.zeros(8), np.zeros(8)))
    phase = writer.halves(image)[3]
    strided = writer.strided(image, random.randn(18, 4, 3, 3), np.zeros(18))
    joined = phase._replace(
        places=np.concatenate([phase.places, pooled.places, smaller.places, strided.places])
    )
    fewer = writer.winograd(joined, random.randn(5, 38, 6, 3), np.zeros(5))
    last = writer.convolution(fewer, random.randn(5, 5, 1, 1), np.zeros(5))
    last = writer.squared(last, random.randn(36, 5, 5), np.zeros(5))
    halved = writer.strided(last, random.randn(17, 5, 3, 3), np.zeros(17), stride=1, halved=True)
    last = last._replace(places=np.concatenate([last.places[:4], halved.places[16:]]))
    stereo = of_stereo(writer, last, random)
    logits = writer.linear(writer.mean(stereo), random.randn(7, 5), np.zeros(7))
    copy = writer.vector(7)
    writer.step("copy", 7, logits, copy)
    writer.export_vector(0, copy, 7)
    writer.export(1, last)
    return writer.program(["image"], ["logits", "map", "disparity", "double"])


TOY = toy()
SIZES = (LOGITS, MAP, DISPARITY, DOUBLE)


def steps() -> List[Tuple[str, int]]:
    """The kinds of the toy's steps, and where in the words they begin."""
    found, at = [], 0
    while at < len(TOY.words):
        found.append((tuple(STEPS)[TOY.words[at]], at))
        at += int(TOY.words[at + 1])
    return found


def changed(**words: int) -> Program:
    """The toy, of which ``STEP_ARGUMENT`` of the first such step is another number."""
    own = TOY.words.copy()
    for name, value in words.items():
        kind, _, argument = name.partition("_")
        at = next(place for step, place in steps() if step == kind)
        own[at + 2 + STEPS[kind].index(argument)] = value
    return TOY._replace(words=own)


def test_the_program_itself_is_fine_and_has_every_kind_of_step() -> None:
    check_program(TOY, SIZES, "toy")
    assert shapes_of_inputs(TOY) == [IMAGE]
    assert {kind for kind, _ in steps()} == set(STEPS)


@pytest.mark.parametrize("kind, argument", [(kind, name) for kind in STEPS for name in STEPS[kind]])
def test_every_argument_has_a_bound(kind: str, argument: str) -> None:
    for value in (-7, 1 << 30, -(1 << 31), (1 << 31) - 1):
        with pytest.raises(BundleError, match=rf"toy: step \d+ \({kind}\) .*export the bundle again"):
            check_program(changed(**{f"{kind}_{argument}": value}), SIZES, "toy")


def test_a_step_one_element_beyond_an_end_is_refused() -> None:
    for short in (
        TOY._replace(arena=TOY.arena - 1),
        TOY._replace(table=TOY.table[:-1]),
        TOY._replace(constants=TOY.constants[:-16]),
        TOY._replace(packed=TOY.packed - 1),
    ):
        with pytest.raises(BundleError, match=r"toy: step \d+"):
            check_program(short, SIZES, "toy")


def misplaced(kind: str, argument: str, value: int) -> Program:
    """The toy, whose first such step has this number in the table that it reads."""
    at = next(place for step, place in steps() if step == kind)
    table = TOY.table.copy()
    table[TOY.words[at + 2 + STEPS[kind].index(argument)] + 1] = value
    return TOY._replace(table=table)


@pytest.mark.parametrize("value", [-1, 40, 1 << 30])
@pytest.mark.parametrize("table, side", [("row_table", 6), ("column_table", 10)])
def test_a_resize_reads_no_pixel_beside_the_picture(table: str, side: int, value: int) -> None:
    with pytest.raises(BundleError, match=rf"\(resize\) mixes pixels .* of {side}"):
        check_program(misplaced("resize", table, value), SIZES, "toy")
    check_program(misplaced("resize", table, side - 1), SIZES, "toy")


@pytest.mark.parametrize(
    "kind, table",
    [
        ("resize", "planes"),
        ("transpose", "sources"),
        ("transpose", "planes"),
        ("volume", "left"),
        ("volume", "right"),
        ("volume", "planes"),
        ("expectation", "sources"),
        ("propagate", "gates"),
        ("stem", "planes"),
    ],
)
def test_a_plane_of_stereos_steps_lies_within_the_arena(kind: str, table: str) -> None:
    for value in (-1, TOY.arena - 1, 1 << 30):
        with pytest.raises(BundleError, match=rf"\({kind}\) uses the arena at"):
            check_program(misplaced(kind, table, value), SIZES, "toy")


def test_shapes_of_inputs_are_also_those_of_what_is_resized_and_added() -> None:
    writer = Writer()
    writer.resize(0, (2, 3, 5), *same(3, 4), to=0, addend=1)
    program = writer.program(["image", "more"], ["out"])
    check_program(program, [(1, 2, 3, 4)], "toy")
    assert shapes_of_inputs(program) == [(2, 3, 5), (2, 3, 4)]


@pytest.mark.parametrize(
    "broken, said",
    [
        (TOY._replace(words=TOY.words[:-1]), "begins no whole step"),
        (TOY._replace(words=np.array([len(STEPS), 2], np.int32)), "begins no whole step"),
        (TOY._replace(words=np.array([-1, 0], np.int32)), "begins no whole step"),
        (TOY._replace(words=np.array([0], np.int32)), "begins no whole step"),
        (TOY._replace(words=np.array([], np.int32)), "no step writes logits, map, disparity, double"),
        (TOY._replace(words=TOY.words.astype(np.int64)), "words are int64"),
        (TOY._replace(table=TOY.table.reshape(1, -1)), "table are int32 of shape"),
        (TOY._replace(constants=TOY.constants[::2]), "constants are float32"),
        (TOY._replace(constants=TOY.constants.astype(np.float64)), "constants are float64"),
        (TOY._replace(arena=-1), "an arena of -1"),
        (TOY._replace(arena=1 << 40), "an arena of"),
        (TOY._replace(packed=1 << 30), "packed taps"),
    ],
)
def test_what_is_no_list_of_steps_is_refused(broken: Program, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        check_program(broken, SIZES, "toy")


def test_outputs_of_another_size_or_that_nothing_writes_are_refused() -> None:
    with pytest.raises(BundleError, match="output 0, which has 8 elements"):
        check_program(TOY, ((1, 8), *SIZES[1:]), "toy")
    with pytest.raises(BundleError, match="no step writes more"):
        check_program(TOY._replace(outputs=(*TOY.outputs, "more")), (*SIZES, (1, 1)), "toy")


@pytest.fixture(scope="module")
def backend(needs_compiler: None) -> Native:
    with open_backend("native", threads=2) as opened:
        assert isinstance(opened, Native)
        yield opened


def stage() -> StageSpec:
    outputs = tuple(TensorSpec(name, "float32", shape, "NC") for name, shape in zip(TOY.outputs, SIZES))
    return StageSpec("stage1", TOY.inputs, "logits", outputs, 1, 1, (), {})


def mutated(draw: Callable[[object], object]) -> Program:
    """The toy with some of its words or places changed, to any number or to one that is just as likely to be right."""
    arrays = {"words": TOY.words.copy(), "table": TOY.table.copy()}
    for _ in range(int(draw(st.integers(1, 4)))):
        own = arrays[str(draw(st.sampled_from(("words", "words", "table"))))]
        at = int(draw(st.integers(0, len(own) - 1)))
        near = st.integers(-3, 3).map(lambda more, was=int(own[at]): was + more)
        own[at] = draw(
            st.one_of(
                near.filter(lambda word: -(1 << 31) <= word < 1 << 31),
                st.integers(-2, 40),
                st.sampled_from(own.tolist()),
                st.integers(-(1 << 31), (1 << 31) - 1),
            )
        )
    return TOY._replace(**arrays)


@given(st.data())
@settings(max_examples=300)
def test_a_program_with_any_words_is_refused_or_runs(backend: Native, data: st.DataObject) -> None:
    program = mutated(data.draw)
    try:
        backend.load(stage(), encode(program), "toy.program")
    except BundleError:
        return
    shape = shapes_of_inputs(program)[0]
    value = float(data.draw(st.sampled_from((0.0, 1e30, -np.inf, np.nan))))  # disparities are made of it
    frame = backend.start({"image": np.full((1, *(shape or IMAGE)), value, np.float32)})
    frame.run("stage1")
    assert [frame.read(name).shape for name in TOY.outputs] == list(SIZES)


def test_no_program_that_is_let_through_touches_what_is_not_its_own() -> None:
    """The same once more, with kernels that end the process at their first step beside their arrays."""
    found = subprocess.run(
        [os.environ.get("CC", "cc").split()[0], "-print-file-name=libasan.so"],
        stdout=subprocess.PIPE,
        universal_newlines=True,
    )
    library = found.stdout.strip()
    if not os.path.isfile(library):
        pytest.skip("needs the compiler's address sanitizer, libasan.so")
    environment = dict(
        os.environ, CC="cc -fsanitize=address,undefined -fno-sanitize-recover=all", LD_PRELOAD=library,
        ASAN_OPTIONS="detect_leaks=0", PYTHONPATH=os.pathsep.join([os.getcwd(), *sys.path]),
    )  # fmt: skip
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "any_words"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert "1 passed" in process.stdout


def staying() -> Program:
    """The toy, whose map is left in the arena and whose image is found there."""
    place = len(TOY.table)
    table = np.concatenate([TOY.table, np.arange(16, 16 + 5 * 64, 64, np.int32)])
    return TOY._replace(
        inputs=("image", "before"), outputs=(*TOY.outputs, "after"), table=table, layout="one",
        residents=(Resident("after", 5, 3, 5, 7, place), Resident("before", 5, 3, 5, 7, place)),
    )  # fmt: skip


def test_what_stays_in_the_arena_has_its_place_there() -> None:
    sizes, program = (*SIZES, (1, 5, 3, 5)), staying()
    check_program(program, sizes, "toy")
    assert decode(encode(program), "toy").residents == program.residents
    one = program.residents[0]
    for wrong, said in (
        (program._replace(layout=""), "2 residents in an arena of layout ''"),
        (program._replace(residents=()), "0 residents in an arena of layout 'one'"),
        (program._replace(residents=(one, one)), "after, after are not some of"),
        (program._replace(residents=(one._replace(name="other"),)), "other are not some of"),
        (program._replace(residents=(one._replace(planes=len(program.table) - 4),)), "after reads the table"),
        (program._replace(residents=(one._replace(pitch=1 << 20),)), "after uses the arena"),
        (program._replace(residents=(one._replace(pitch=4),)), "after has rows of 5 that begin 4 apart"),
        (program._replace(residents=(one._replace(height=-3),)), "after has -3 height"),
        (
            program._replace(residents=(one._replace(channels=4),)),
            "after has 75 elements, and 60 in the arena",
        ),
        (program._replace(residents=(one._replace(name="image"),)), "moves image, which stays in the arena"),
        (program._replace(residents=(one._replace(name="map"),)), "moves map, which stays in the arena"),
        (program._replace(residents=program.residents[1:]), "no step writes after"),
    ):
        with pytest.raises(BundleError, match=rf"toy: .*{re.escape(said)}.*export the bundle again"):
            check_program(wrong, sizes, "toy")


def test_an_arena_of_the_same_name_and_another_size_is_another_one() -> None:
    """Or a program could be given one that is too small for it."""
    program = staying()
    large = program._replace(arena=program.arena * 2)
    outputs = [
        TensorSpec(name, "float32", shape, "NCHW")
        for name, shape in zip(program.outputs, (*SIZES, (1, 5, 3, 5)))
    ]
    with open_backend("native", threads=2) as backend:
        frame = backend.start(
            {"image": np.zeros((1, *IMAGE), np.float32), "before": np.zeros((1, 5, 3, 5), np.float32)}
        )
        for number, one in enumerate((program, large), 1):
            stage = StageSpec(f"stage{number}", one.inputs, "logits", tuple(outputs), 1, 1, (), {})
            backend.load(stage, encode(one), "toy")
            frame.run(stage.name)
        frame.end()
