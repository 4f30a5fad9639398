"""Equal networks are one candidate, and what evolution draws, changes and crosses stays within the supernet's space."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edgekit.export.search.genes import Candidate, Genes
from edgekit.models.oqa_space import block_shapes, subnet_config, subnet_name, subnet_named
from tests.export.search.supernets import options

GENES = Genes(options(4), (4, 2))


@given(seed=st.integers(0, 10**6))
def test_a_name_gives_back_its_network_and_is_the_networks_only_name(seed: int) -> None:
    candidate = GENES.draw(random.Random(seed))
    config = GENES.config(candidate)
    assert subnet_name(options(4), config) == candidate.subnet
    assert subnet_config(options(4), {"ks": config.ks, "e": config.e, "d": config.d}) == config


@given(seed=st.integers(0, 10**6))
def test_children_are_within_the_space_and_have_their_parents_genes(seed: int) -> None:
    generator = random.Random(seed)
    one, other = GENES.draw(generator), GENES.draw(generator)
    child = GENES.cross(one, other, generator)
    assert child.bits in (one.bits, other.bits)
    depths = zip(GENES.config(child).d, GENES.config(one).d, GENES.config(other).d, strict=True)
    assert all(mine in (first, second) for mine, first, second in depths)
    assert block_shapes(options(4), GENES.config(GENES.mutate(child, generator, 0.5)))


def test_nothing_changes_at_a_share_of_nothing() -> None:
    generator = random.Random(1)
    candidate = GENES.draw(generator)
    assert GENES.mutate(candidate, generator, 0.0) == candidate


def test_genes_of_blocks_that_are_left_out_tell_no_networks_apart() -> None:
    space = options(4)
    shallow = subnet_config(space, {"ks": [3, 5] * 5, "e": 3, "d": 1})
    same = subnet_config(space, {"ks": [3, 3] * 5, "e": 3, "d": 1})
    assert subnet_name(space, shallow) == subnet_name(space, same) == "d11111-k33333-e33333"
    assert subnet_named(space, "d11111-k33333-e33333").d == (1,) * 5


def test_the_smallest_and_the_largest_are_what_they_say() -> None:
    assert GENES.uniform(2, largest=False) == Candidate(2, "d11111-k33333-e33333")
    assert GENES.uniform(4, largest=True) == Candidate(4, "d22222-k5555555555-e4444444444")
