"""Steps of a group wait for none of each other, and every step comes as early as it can."""

import random
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekit.export.native.groups import grouped
from edgekit.export.native.memory import placed
from edgekit.export.native.planes import Grid, Step
from edgekit.kernels import Kernels
from edgekit.program import Program, steps_of
from tests.export.native.test_programs import Net, agrees

GRID = Grid(4, 4, 1)


@dataclass
class Toy(Step):
    """A step of a number, what it reads, and what it writes."""

    number: int
    of: list[int] = field(default_factory=list)
    to: list[int] = field(default_factory=list)

    @property
    def reads(self) -> list[int]:
        return self.of

    @property
    def writes(self) -> list[int]:
        return self.to


def steps_at_random(seed: int, count: int, once: bool) -> list[Toy]:
    """``once``: every plane is written by one step only."""
    chance = random.Random(seed)
    made: list[Toy] = []
    for number in range(count):
        known = [plane for step in made for plane in step.to]
        of = chance.sample(known, min(len(known), chance.randint(0, 3)))
        to = [number] if once or chance.random() < 0.7 or not known else [chance.choice(known)]
        made.append(Toy(number, of, to))
    return made


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_every_step_comes_after_all_that_it_depends_on(seed: int, count: int) -> None:
    steps = steps_at_random(seed, count, once=False)
    found = grouped(steps)
    place = {step.number: number for number, group in enumerate(found) for step in group}  # type: ignore[attr-defined]
    assert sorted(place) == list(range(count))
    for second in steps:
        needed = [
            first
            for first in steps[: second.number]
            if {*first.to} & {*second.of, *second.to} or {*first.of} & {*second.to}
        ]
        assert place[second.number] == max((place[first.number] + 1 for first in needed), default=0)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_no_plane_of_a_group_lies_where_another_of_its_steps_reads_or_writes(seed: int, count: int) -> None:
    groups = grouped(steps_at_random(seed, count, once=True))
    places, _ = placed([groups], [GRID] * count, {})
    there: dict[int, int] = {}  # by places, the planes that lie there
    for group in groups:
        for step in group:
            assert all(there[int(places[plane])] == plane for plane in step.reads)
        taken = [int(places[plane]) for step in group for plane in step.writes]
        assert len(set(taken)) == len(taken)
        assert not {*taken} & {int(places[plane]) for step in group for plane in step.reads}
        there.update({int(places[plane]): plane for step in group for plane in step.writes})


def sizes(made: Program) -> list[int]:
    """How many steps the groups have."""
    return [arguments["steps"] for kind, arguments in steps_of(made) if kind == "group"]


def test_branches_run_side_by_side(kernels: Kernels) -> None:
    """Those of several scales, as multi-exit networks have, whose steps are longer and shorter; again and again."""

    def forward(self: Net, x: Tensor) -> Tensor:
        coarse = self.down(x)
        fine, coarse = self.a(x).relu(), self.b(coarse).relu()
        fine, coarse = self.c(fine).relu(), self.d(coarse).relu()
        return self.e(torch.cat([self.down(fine), coarse], 1))

    torch.manual_seed(0)
    layer = {
        name: nn.Conv2d(read, 20, 3, padding=1)
        for name, read in zip("abcde", (4, 4, 20, 20, 40), strict=True)
    }
    made = agrees(kernels, Net(forward, down=nn.MaxPool2d(2), **layer).eval(), torch.randn(1, 4, 12, 20))
    assert sizes(made) == [2, 2, 2]
    image = np.random.default_rng(0).standard_normal((1, 4, 12, 20)).astype(np.float32)
    handle = kernels.load(made, [(1, 20, 6, 10)], "branches")
    (first,) = kernels.run(handle, [image]) or [None]
    for _ in range(300):
        (again,) = kernels.run(handle, [image]) or [None]
        np.testing.assert_array_equal(first, again)


def test_a_chain_has_no_groups(kernels: Kernels) -> None:
    net = nn.Sequential(*(nn.Conv2d(5, 5, 3, padding=1) for _ in range(4))).eval()
    assert sizes(agrees(kernels, net, torch.randn(1, 5, 9, 9))) == []
