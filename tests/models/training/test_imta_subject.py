"""IMTA's three techniques do what the paper says of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.models.training.imta_subject import distilled, equilibrium

OPTIONS = MSDNetOptions(nBlocks=3, base=1, step=1, nChannels=4, growthRate=4, bottleneck=False)


@given(exits=st.integers(2, 8), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_every_exit_gives_each_block_before_it_the_same_share_of_the_gradient(exits: int, seed: int) -> None:
    """Section 3.1: with K exits whose own gradients are g_k, block i receives the sum over k >= i of g_k / (K - i + 1)."""
    branch = equilibrium(exits)
    random = torch.Generator().manual_seed(seed)
    gradients = [float(torch.randn(1, generator=random)) for _ in range(exits)]
    # Block i adds its own number to what comes in
    blocks = [torch.zeros(1, requires_grad=True) for _ in range(exits)]
    x, loss = torch.zeros(1), torch.zeros(1)
    for index, (block, gradient) in enumerate(zip(blocks, gradients, strict=True)):
        here, x = branch(index, x + block)
        loss = loss + gradient * here
    loss.backward()  # type: ignore[no-untyped-call]
    for index, block in enumerate(blocks):
        expected = sum(gradients[index:]) / (exits - index)
        assert block.grad is not None
        assert float(block.grad) == pytest.approx(expected, abs=1e-5)


def test_gradient_equilibrium_changes_no_answer_and_no_gradient_of_a_classifier() -> None:
    torch.manual_seed(0)
    net = MSDNet(OPTIONS)
    pictures, labels = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))

    def learnt(branched: bool) -> tuple[list[Tensor], list[Tensor]]:
        net.zero_grad()
        maps = net.features(pictures, equilibrium(3) if branched else None)
        logits = [net.head(index)(x) for index, x in enumerate(maps)]
        torch.stack([cross_entropy(one, labels) for one in logits]).sum().backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.clone() for p in net.classifier.parameters() if p.grad is not None]
        return logits, gradients

    (logits, gradients), (others, other_gradients) = learnt(False), learnt(True)
    assert all(torch.equal(a, b) for a, b in zip(logits, others, strict=True))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, other_gradients, strict=True))


def test_without_distillation_only_the_labels_count_and_with_all_of_it_only_the_last_exit() -> None:
    torch.manual_seed(1)
    logits, teacher, labels = torch.randn(6, 4), torch.randn(6, 4), torch.randint(0, 4, (6,))
    assert distilled(logits, teacher, labels, 0.0, 3.0) == cross_entropy(logits, labels)
    assert float(distilled(teacher, teacher, labels, 1.0, 3.0)) == pytest.approx(0, abs=1e-6)
    wrong = torch.full_like(labels, 0)
    assert torch.equal(
        distilled(logits, teacher, labels, 1.0, 3.0), distilled(logits, teacher, wrong, 1.0, 3.0)
    )


def test_the_gradient_of_the_distillation_does_not_shrink_with_its_temperature() -> None:
    """Why the loss is multiplied by the temperature's square: for large temperatures its gradient stays what it is."""
    torch.manual_seed(2)
    teacher, labels = torch.randn(6, 4), torch.randint(0, 4, (6,))

    def gradient(temperature: float) -> float:
        logits = torch.zeros(6, 4, requires_grad=True)
        distilled(logits, teacher, labels, 1.0, temperature).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        return float(logits.grad.norm())

    assert gradient(20.0) == pytest.approx(gradient(10.0), rel=0.05)


def test_the_last_exit_teaches_and_does_not_learn_from_its_pupils() -> None:
    teacher = torch.randn(6, 4, requires_grad=True)
    distilled(
        torch.randn(6, 4, requires_grad=True), teacher, torch.zeros(6, dtype=torch.long), 0.5, 1.0
    ).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
