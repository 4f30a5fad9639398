"""A plain network is cut at named layers into stages that compute what it computes, each part once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import OptionError
from edgekit.models.cutting import CutNetwork, pooled_head
from edgekit.models.staged import ImageInput, StagedModel


class _Skips(nn.Module):
    """A skip connection around two layers, a parameter of its own, and a layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.third = nn.Conv2d(8, 8, 1)
        self.twice = nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.first(x))
        y = self.third(self.twice(self.second(x)))
        return self.fc((y * self.gain + x).mean((2, 3)))  # type: ignore[no-any-return]


class _Scales(nn.Module):
    """A parameter and a buffer of its own, read before and after the cuts."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("shift", torch.full((8, 1, 1), 0.5))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x * self.scale) * self.scale + self.shift
        return self.fc((self.second(x) * self.scale + self.shift).mean((2, 3)))  # type: ignore[no-any-return]


class _Pair(_Scales):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x), x  # type: ignore[return-value]


def _cut(*layers: str) -> CutNetwork:
    torch.manual_seed(0)
    image = ImageInput("image", 12, 12)
    return CutNetwork(_Skips(), {layer: pooled_head(8, 5) for layer in layers}, image).eval()


@pytest.mark.parametrize(
    "layers", [("first",), ("second",), ("second.0",), ("third", "first"), ("second.1", "third")]
)
def test_its_stages_are_the_uncut_network_whatever_crosses_the_cuts(layers: tuple[str, ...]) -> None:
    cut = _cut(*layers)
    assert isinstance(cut, StagedModel)
    image = torch.randn(2, 3, 12, 12)
    known = {"image": image}
    with torch.no_grad():
        for stage in cut.stages():
            out = stage.module(*(known[name] for name in stage.inputs))
            known.update(zip(stage.outputs, out if isinstance(out, tuple) else (out,), strict=True))
        exits = cut.reference(image)
        assert len(exits) == len(layers) + 1
        for number, exit_ in enumerate(exits, 1):
            torch.testing.assert_close(known[f"logits{number}"], exit_)


def test_exits_come_in_the_order_in_which_the_network_runs() -> None:
    first, second, _ = _cut("third", "first").stages()
    assert first.inputs == ("image",) and "first" in first.outputs
    assert "first" in second.inputs and "third" in second.outputs


def test_every_exit_teaches_its_head_and_the_layers_below_it() -> None:
    cut = _cut("first", "third").train()
    sum(exit_.square().mean() for exit_ in cut(torch.randn(3, 3, 12, 12))).backward()  # type: ignore[union-attr]
    assert [name for name, p in cut.named_parameters() if p.grad is None] == []


def test_what_the_network_itself_holds_is_read_by_every_stage_and_handed_on_by_none() -> None:
    torch.manual_seed(0)
    heads = {layer: pooled_head(8, 5) for layer in ("first", "second")}
    cut = CutNetwork(_Scales(), heads, ImageInput("image", 12, 12)).eval()
    stages = cut.stages()
    names = {name for stage in stages for name in (*stage.inputs, *stage.outputs)}
    assert not any("scale" in name or "shift" in name for name in names)
    known = {"image": torch.randn(1, 3, 12, 12)}
    with torch.no_grad():
        for stage in stages:
            out = stage.module(*(known[name] for name in stage.inputs))
            known.update(zip(stage.outputs, out if isinstance(out, tuple) else (out,), strict=True))
        for number, exit_ in enumerate(cut.reference(known["image"]), 1):
            torch.testing.assert_close(known[f"logits{number}"], exit_)


@pytest.mark.parametrize(
    ("network", "heads", "image", "said"),
    [
        (torch.relu, {"first": nn.Identity()}, ImageInput("image", 12, 12), "must be a torch.nn.Module"),
        (_Scales(), ["first"], ImageInput("image", 12, 12), "heads are a list"),
        (_Scales(), {"first": None}, ImageInput("image", 12, 12), "the head of 'first' is a NoneType"),
        (_Scales(), {"first": nn.Identity()}, (12, 12), "must be an edgekit.models.staged.ImageInput"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(
    network: object, heads: object, image: object, said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        CutNetwork(network, heads, image)  # type: ignore[arg-type]


def _branches() -> nn.Module:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if x.sum() > 0 else x

    return Branches()


@pytest.mark.parametrize(
    ("network", "layers", "words"),
    [
        (_Skips, ["secnd"], ("no layer 'secnd'", "did you mean second")),
        (_Skips, [], ("no layer was named",)),
        (_Skips, ["twice"], ("'twice'", "2 times")),
        (_Skips, ["second", "second.0"], ("'second.0'", "a layer around it")),
        (_branches, ["layer"], ("cannot trace", "branch")),
        (_Scales, ["fc"], ("'fc'", "an exit anyway")),
        (_Pair, ["first"], ("its logits and nothing else", "tuple")),
    ],
)
def test_what_cannot_be_cut_is_named(
    network: Callable[[], nn.Module], layers: list[str], words: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError) as raised:
        CutNetwork(network(), {layer: nn.Identity() for layer in layers}, ImageInput("image", 12, 12))
    assert all(word in str(raised.value) for word in words), raised.value


class _Early(nn.Module):
    """Its answer is ready before its last layer runs."""

    def __init__(self) -> None:
        super().__init__()
        self.answer, self.after = nn.Linear(3, 4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        answer = self.answer(x)
        self.after(answer)
        return answer


def test_a_cut_after_the_networks_own_answer_is_named() -> None:
    cut = CutNetwork(_Early(), {"after": nn.Identity()}, ImageInput("image", 12, 12))
    with pytest.raises(OptionError, match="cannot be cut at 'after': the network's own answer is ready"):
        cut.stages()
