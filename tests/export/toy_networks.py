"""Small staged models of a user's own, as `--model toy_networks:NAME` finds them: one that works and ones that are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.models.staged import Alternative, ImageInput, Stage


class First(nn.Module):
    """Picture to logits and features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.head = nn.Linear(8, classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stem(image)
        return self.head(features.mean((2, 3))), features


class Second(nn.Module):
    """Features to better logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(8, classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.body(features).flatten(1))  # type: ignore[no-any-return]


class Toy:
    """Two stages, each with an exit."""

    family = "toy"
    task = "classification"

    def __init__(self, classes: int = 5, size: tuple[int, int] = (32, 32)) -> None:
        torch.manual_seed(0)
        self.options: Mapping[str, object] = {"classes": classes}
        self.inputs = (ImageInput("image", *size),)
        self.first, self.second = First(classes), Second(classes)

    def stages(self) -> Sequence[Stage]:
        return [
            Stage("stage1", self.first, ("image",), ("logits1", "features"), "logits1"),
            Stage("stage2", self.second, ("features",), ("logits2",), "logits2"),
        ]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        logits, features = self.first(inputs[0])
        return [logits, self.second(features)]


def build(config: Mapping[str, object], size: tuple[int, int] | None) -> Toy:
    """The one that works."""
    return Toy(int(str(config.get("classes", 5))), size or (32, 32))


class Single(Toy):
    """One stage: the first of `Toy`, its features dropped."""

    def stages(self) -> Sequence[Stage]:
        return [Stage("stage1", _Logits(self.first), ("image",), ("logits1",), "logits1")]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        return [self.first(inputs[0])[0]]


class _Logits(nn.Module):
    def __init__(self, first: First) -> None:
        super().__init__()
        self.first = first

    def forward(self, image: Tensor) -> Tensor:
        return self.first(image)[0]  # type: ignore[no-any-return]


def single(config: Mapping[str, object], size: tuple[int, int] | None) -> Single:
    """The cheaper one."""
    return Single(int(str(config.get("classes", 5))), size or (32, 32))


def family(size: tuple[int, int] | None) -> list[Alternative]:
    """Several at once, the dearest first."""
    return [
        Alternative("wide", Toy(size=(48, 48)), 0.75, "published"),
        Alternative("narrow", Single(size=(32, 32)), 0.5),
        Alternative("twin", Toy(size=(32, 32))),
    ]


def stubborn(size: tuple[int, int]) -> Toy:
    """One that takes a size and does not use it."""
    return Toy()


class _Wrong(Toy):
    def __init__(self, *stages: Stage) -> None:
        super().__init__()
        self._stages = stages

    def stages(self) -> Sequence[Stage]:
        return self._stages


def _with(**second: object) -> _Wrong:
    toy = Toy()
    first = Stage("stage1", toy.first, ("image",), ("logits1", "features"), "logits1")
    fields = {
        "name": "stage2",
        "module": toy.second,
        "inputs": ("features",),
        "outputs": ("logits2",),
        "exit": "logits2",
    }
    return _Wrong(first, Stage(**{**fields, **second}))  # type: ignore[arg-type]


class _Answers(Toy):
    """``reference()`` gives this, or raises it."""

    def __init__(self, given: object) -> None:
        super().__init__()
        self._given = given

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        if isinstance(self._given, Exception):
            raise self._given
        return self._given  # type: ignore[return-value]


class Scaled(Toy):
    """A number crosses the cut, which has no sides, beside a mask of true and false."""

    def stages(self) -> Sequence[Stage]:
        first = Stage("stage1", _Scale(self.first), ("image",), ("logits1", "scale", "mask"), "logits1")
        second = Stage("stage2", _ByScale(), ("logits1", "mask", "scale"), ("logits2",), "logits2")
        return [first, second]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        logits, scale, mask = _Scale(self.first)(inputs[0])
        return [logits, _ByScale()(logits, mask, scale)]


class _Scale(nn.Module):
    def __init__(self, first: First) -> None:
        super().__init__()
        self.first = first

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, features = self.first(image)
        return logits, features.mean(), features.mean((2, 3)) > 0


class _ByScale(nn.Module):
    def forward(self, logits: Tensor, mask: Tensor, scale: Tensor) -> Tensor:
        return logits * scale + mask.float().sum(1, keepdim=True)


def scaled(size: tuple[int, int] | None) -> Scaled:
    """The one whose stages hand on a number."""
    return Scaled(size=size or (32, 32))


class Beside(Single):
    """Its answer to a picture depends on the other pictures."""

    def stages(self) -> Sequence[Stage]:
        return [Stage("stage1", _Centred(self.first), ("image",), ("logits1",), "logits1")]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        return [_Centred(self.first)(inputs[0])]


class _Centred(_Logits):
    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits - 0.5 * logits.mean(0, keepdim=True)


class Alone(Single):
    """It takes one picture, and no more."""

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        if len(inputs[0]) > 1:
            raise ValueError("one at a time")
        return super().reference(*inputs)


def alone(size: tuple[int, int] | None) -> Alone:
    """The one that takes no two pictures."""
    return Alone(size=size or (32, 32))


def beside(size: tuple[int, int] | None) -> Beside:
    """The one that does not keep pictures apart."""
    return Beside(size=size or (32, 32))


class _Returns(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> object:
        logits = x.mean((2, 3))
        return {
            "a list of numbers": [1.0],
            "two": (logits, logits),
            "six classes": F.pad(logits, (0, 6 - logits.shape[1])),
            "nan": logits[:, :5] * float("nan"),
            "error": logits[:, :5] if self.what != "error" else logits.view(7, 7),
        }[self.what]


class _Samples(nn.Module):
    """Reads a picture at computed places, which TensorRT 8.2 cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"warp": _Warp()})

    def forward(self, x: Tensor) -> Tensor:
        return self.inner["warp"](x).mean((2, 3))[:, :5]  # type: ignore[no-any-return]


class _Warp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=True)


class _Cubic(nn.Module):
    """TensorRT has no cubic interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.then = Second(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.then(F.interpolate(x, (20, 20), mode="bicubic"))  # type: ignore[no-any-return]


class _CubicToy(_Wrong):
    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        first, second = self.stages()
        logits, features = first.module(inputs[0])
        return [logits, second.module(features)]


def _cubic() -> _CubicToy:
    second = _Cubic()
    return _CubicToy(
        Stage("stage1", Toy().first, ("image",), ("logits1", "features"), "logits1"),
        Stage("stage2", second, ("features",), ("logits2",), "logits2"),
    )


WRONG = {
    "cubic": _cubic,
    "missing": lambda: _with(inputs=("feature_maps",)),
    "itself": lambda: _with(inputs=("features", "logits2")),
    "cycle": lambda: _Wrong(
        Stage("stage1", Toy().first, ("image", "logits2"), ("logits1", "features"), "logits1"),
        Stage("stage2", Toy().second, ("features",), ("logits2",), "logits2"),
    ),
    "no_stage": lambda: _Wrong(None),  # type: ignore[arg-type]
    "no_module": lambda: _with(module=torch.relu),
    "one_name": lambda: _with(inputs="features"),
    "empty_name": lambda: _with(outputs=("",), exit=""),
    "twice": lambda: _with(inputs=("features", "features")),
    "no_reference": lambda: _Answers(None),
    "one_reference": lambda: _Answers(torch.zeros(1, 5)),
    "reference_raises": lambda: _Answers(ValueError("no such layer")),
    "reused": lambda: _with(outputs=("features",), exit="features"),
    "same_stage": lambda: _with(name="stage1"),
    "no_such_exit": lambda: _with(exit="answer"),
    "number_list": lambda: _with(module=_Returns("a list of numbers")),
    "too_many": lambda: _with(module=_Returns("two")),
    "other_classes": lambda: _with(module=_Returns("six classes")),
    "nan": lambda: _with(module=_Returns("nan")),
    "raises": lambda: _with(module=_Returns("error")),
    "sampler": lambda: _with(module=_Samples()),
    "no_stages": lambda: _Wrong(),
    "no_exit": lambda: _Wrong(Stage("stage1", Toy().first, ("image",), ("logits1", "features"))),
    "reference": lambda: _with(exit=None),
}


def wrong(config: Mapping[str, object]) -> object:
    """The one that ``config`` names."""
    return WRONG[str(config["kind"])]()


def no_model() -> int:
    """No staged model at all."""
    return 3
