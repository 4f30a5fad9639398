"""What stages hand to each other stays in one arena, wherever its frame stops, goes on, or begins again."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.bundle import StageSpec, TensorSpec
from edgekit.errors import BackendError, BundleError
from edgekit.export.convert import convert
from edgekit.export.native import interpreter
from edgekit.export.native.graphs import programs
from edgekit.export.passes import simplify
from edgekit.kernels import Kernels
from edgekit.program import Program, decode, encode, steps_of
from edgekit.runtime.backends import Backend, open_backend

SIZE = (20, 24)
Arrays = dict[str, np.ndarray]


class Block(nn.Module):
    """A stage of three maps and an answer: it halves the second one, and hands the first one's channels on joined and as they are."""

    def __init__(self, read: int, wide: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(read, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(wide, channels, 3, stride=2, padding=1)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        found = self.norm(self.first(x)).relu()
        half = self.second(y)
        return self.head(half.mean((2, 3))), torch.cat([found, x], 1), found, half


class Network:
    """Random stages, what they write, and their programs."""

    def __init__(self, seed: int, stages: int, channels: int, skips: bool, dense: bool = True) -> None:
        torch.manual_seed(seed)
        image = torch.randn(1, 3, *SIZE)
        self.tensors = {"image": image}
        self.reads: dict[str, list[str]] = {}
        self.writes: dict[str, list[str]] = {}
        graphs = {}
        x, y = "image", "image"
        for number in range(1, stages + 1):
            stage, names = (
                f"stage{number}",
                [f"{name}{number}" for name in ("answer", "joined", "plain", "half")],
            )
            module = Block(self.tensors[x].shape[1], self.tensors[y].shape[1], channels).eval()
            given = {x: self.tensors[x], y: self.tensors[y]} if x != y else {x: self.tensors[x]}
            run: nn.Module = module if x != y else Twice(module)
            with torch.no_grad():
                self.tensors.update(zip(names, run(*given.values()), strict=True))
            graphs[stage] = simplify(convert(run, given, names, stage))
            self.reads[stage], self.writes[stage] = list(given), names
            x = f"joined{number}" if dense else f"plain{number}"
            y = "plain1" if skips else f"joined{number}" if not dense else f"plain{number}"
        self.programs = {
            stage: decode(encode(made), stage) for stage, made in programs(graphs, {"answer1"}).items()
        }

    def spec(self, stage: str) -> StageSpec:
        outputs = [
            TensorSpec(name, "float32", tuple(self.tensors[name].shape), "NCHW")
            for name in self.writes[stage]
        ]
        return StageSpec(stage, tuple(self.reads[stage]), None, tuple(outputs), 1, 1, (), {})

    def load(self, backend: Backend) -> None:
        for stage, made in self.programs.items():
            backend.load(self.spec(stage), encode(made), stage)

    def agrees(self, name: str, found: np.ndarray) -> None:
        wanted = self.tensors[name].numpy()
        np.testing.assert_allclose(
            found.reshape(wanted.shape), wanted, atol=2e-5 * max(1.0, np.abs(wanted).max())
        )


class Twice(nn.Module):
    """A block that reads one tensor twice."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.block(x, x)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(0, 3, 16, False)


@pytest.fixture
def backend(kernels: Kernels, network: Network) -> Iterator[Backend]:
    with open_backend("native", threads=2, spin=False) as opened:
        network.load(opened)
        yield opened


def image(network: Network) -> Arrays:
    return {"image": network.tensors["image"].numpy()}


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    stages=st.integers(2, 4),
    channels=st.sampled_from([2, 5, 16]),
    skips=st.booleans(), dense=st.booleans(),
)  # fmt: skip
def test_stages_that_share_an_arena_compute_what_they_compute_alone(
    kernels: Kernels, seed: int, stages: int, channels: int, skips: bool, dense: bool
) -> None:
    made = Network(seed, stages, channels, skips, dense)
    shapes = {name: tuple(tensor.shape) for name, tensor in made.tensors.items()}
    arrays: Mapping[str, np.ndarray] = {name: tensor.numpy() for name, tensor in made.tensors.items()}
    for program in made.programs.values():
        for name, found in interpreter.run(program, arrays, shapes).items():
            made.agrees(name, found)
    with open_backend("native", threads=2, spin=False) as opened:
        made.load(opened)
        frame = opened.start(image(made))
        for stage, names in made.writes.items():
            for _ in range(2):  # what a stage reads is there until the last of its readers has run
                frame.run(stage)
                for name in names:
                    made.agrees(name, frame.read(name))
        frame.end()


def test_nothing_is_moved_between_stages(network: Network) -> None:
    def kinds(program: Program) -> Sequence[str]:
        return [kind for kind, _ in steps_of(program) if kind in ("import", "export")]

    first, second, third = network.programs.values()
    # The image; and answers with what nobody reads
    assert kinds(first) == ["import", "export", "export"] and kinds(second) == ["export"] * 2
    assert kinds(third) == ["export"] * 4
    assert first.layout == second.layout == third.layout != Network(1, 2, 5, False).programs["stage1"].layout
    assert {one.name for one in second.residents} == {"joined1", "plain1", "joined2", "plain2"}


def test_frames_that_take_turns_have_arenas_of_their_own(backend: Backend, network: Network) -> None:
    frames = [backend.start(image(network)) for _ in range(3)]
    for stage in network.programs:
        for frame in frames:
            frame.run(stage)
    for frame in frames:
        for name in ("answer3", "joined3"):
            network.agrees(name, frame.read(name))
        frame.end()


def test_a_frame_may_begin_in_the_middle(backend: Backend, network: Network) -> None:
    """As those of `infer_batch` do, which bring what an earlier frame wrote."""
    given = {name: network.tensors[name].numpy() for name in network.reads["stage2"]}
    frame = backend.start(given)
    frame.run("stage2")
    frame.run("stage3")
    network.agrees("answer3", frame.read("answer3"))
    with pytest.raises(
        BackendError, match="joined1 is read as 1 x 19 x 20 x 24 float32, and is 1 x 2 x 20 x 24"
    ):
        backend.start({**given, "joined1": given["joined1"][:, :2]}).run("stage2")


def test_what_was_overwritten_is_not_taken_for_what_it_was(kernels: Kernels) -> None:
    network = Network(0, 4, 16, skips=False, dense=False)
    backend = open_backend("native", threads=1)
    network.load(backend)
    overwritten = {name: stage for stage, made in network.programs.items() for name in made.overwritten}
    assert overwritten["plain1"] == "stage4"
    frame = backend.start(image(network))
    for stage in network.programs:
        frame.run(stage)
        if stage != "stage4":
            network.agrees("plain1", frame.read("plain1"))
    with pytest.raises(BackendError, match="plain1 is not there any more"):
        frame.read("plain1")
    with pytest.raises(BackendError, match="1 is not there any more"):
        frame.run("stage2")
    network.agrees("answer4", frame.read("answer4"))
    frame.run("stage1")
    network.agrees("plain1", frame.read("plain1"))
    frame.end()
    backend.close()


def test_a_stage_of_another_layout_is_refused_where_the_tensor_lies_elsewhere(
    kernels: Kernels, network: Network
) -> None:
    first, second = network.programs["stage1"], network.programs["stage2"]
    table = second.table.copy()
    place = next(one.planes for one in second.residents if one.name == "joined1")
    table[[place, place + 1]] = table[[place + 1, place]]
    with open_backend("native", threads=1) as opened:
        opened.load(network.spec("stage1"), encode(first), "first")
        with pytest.raises(BundleError, match="second: has joined1 elsewhere than another stage"):
            opened.load(network.spec("stage2"), encode(second._replace(table=table)), "second")
