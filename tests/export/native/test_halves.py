"""Weights that are many and used for few pixels are kept as halves, and no others; what that changes is small and known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.bundle import Bundle
from edgekit.errors import ParityError
from edgekit.export.native import halves, interpreter, program
from edgekit.kernels import Kernels
from edgekit.program import decode, steps_of
from tests.export.lowering.random_weights import maps
from tests.export.native.answers import agree
from tests.export.native.test_programs import model_of


def kinds(module: nn.Module, *shape: int) -> list[str]:
    return [kind for kind, _ in steps_of(program(model_of(module.eval(), maps(0, 1, *shape))))]


def rounded(module: nn.Module) -> nn.Module:
    """Every output's weights as multiples of the 32767th part of the largest."""
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, (nn.Conv2d, nn.Linear)):
                rows = each.weight.flatten(1).double()
                step = rows.abs().amax(1, keepdim=True) / 32767
                each.weight.copy_(((rows / step).round() * step).reshape(each.weight.shape))
    return module


@pytest.mark.parametrize("stride, side", [(2, 8), (2, 4), (2, 3), (1, 4), (1, 2), (1, 1), (2, 7)])
@pytest.mark.parametrize("outputs", [128, 150])
def test_a_convolution_of_few_pixels_is_that_of_rounded_weights(
    kernels: Kernels, stride: int, side: int, outputs: int
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(128, outputs, 3, stride, 1), nn.ReLU()).eval()
    x = maps(0, 1, 128, side, side)
    made = program(model_of(net, x))
    assert "halved" in [kind for kind, _ in steps_of(made)]
    with torch.no_grad():
        exact, wanted = net(x), rounded(net)(x)
    agree(kernels, made, [x], [wanted])
    assert float((exact - wanted).abs().max() / exact.abs().max()) < 1e-4


def test_so_is_a_linear_layer(kernels: Kernels) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(384, 1001)).eval()
    x = maps(0, 1, 384, 7, 7)
    made = program(model_of(net, x))
    assert [kind for kind, _ in steps_of(made)].count("halved") == 1
    with torch.no_grad():
        wanted = rounded(net)(x)
    agree(kernels, made, [x], [wanted])


def test_outputs_have_scales_of_their_own(kernels: Kernels) -> None:
    """Of sizes that differ by far, of both signs, and one whose weights are all zero."""
    torch.manual_seed(0)
    net = nn.Linear(256, 600).eval()
    with torch.no_grad():
        net.weight *= torch.logspace(-20, 20, 600)[:, None]
        net.weight[5], net.weight[7], net.bias[:] = 0, net.weight[7].abs(), 0
    x = maps(0, 1, 256, 1, 1)[..., 0, 0]
    made = program(model_of(net, x))
    assert [kind for kind, _ in steps_of(made)].count("halved") == 1
    handle = kernels.load(made, [(1, 600)], "halves")
    (found,) = kernels.run(handle, [x.numpy()]) or [None]
    assert found is not None
    with torch.no_grad():
        wanted = (net.weight.double() @ x[0].double()).numpy()
        size = (net.weight.double().abs() @ x[0].double().abs()).numpy()
    assert np.all(np.abs(found[0] - wanted) <= 1e-4 * size) and found[0, 5] == 0


def test_others_are_kept_as_they_are() -> None:
    assert "halved" not in kinds(nn.Conv2d(128, 128, 3, 2, 1), 128, 10, 10)  # 25 pixels
    assert "halved" not in kinds(nn.Conv2d(16, 16, 3, 2, 1), 16, 8, 8)  # few weights
    assert "halved" not in kinds(nn.Conv2d(1500, 15, 3, 2, 1), 1500, 8, 8)  # no strip of outputs


def notes_of(bundle: Bundle) -> list[str]:
    return [str(note) for note in json.loads(json.dumps(bundle.manifest.provenance)).get("notes", [])]


def halved(bundle: Bundle) -> int:
    """How many layers of a bundle's programs have weights of two bytes."""
    names = [f"stages/{stage.name}.native.program" for stage in bundle.manifest.stages]
    return sum(
        kind == "halved" for name in names for kind, _ in steps_of(decode(bundle.read_bytes(name), name))
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few weights are many that the shipped network has some."""
    monkeypatch.setattr(halves, "MANY_WEIGHTS", 4096)


def test_export_says_that_weights_are_halved_and_does_not_where_float32_is_asked_for(
    few: None, tmp_path: Path
) -> None:
    made = edgekit.export("msdnet", target="cpu", out=tmp_path / "a.edgekit", measure=False)
    count = halved(made)
    (note,) = [note for note in notes_of(made) if "native" in note]
    assert count > 0 and f"the weights of {count} layers" in note and "--precision float32" in note
    whole = edgekit.export(
        "msdnet", target="cpu", out=tmp_path / "b.edgekit", measure=False, precision="float32"
    )
    assert halved(whole) == 0 and not notes_of(whole)


def test_where_halves_are_too_coarse_the_weights_are_whole(
    few: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Parity is what decides, on the whole network."""

    monkeypatch.setattr(halves, "LARGEST", 15)
    made = edgekit.export("msdnet", target="cpu", out=tmp_path / "a.edgekit", measure=False)
    assert halved(made) == 0
    assert any("too coarse" in note for note in notes_of(made))


def test_a_fault_that_is_not_theirs_fails_the_export(
    few: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = interpreter.run
    monkeypatch.setattr(
        interpreter, "run", lambda *given: {name: found + 1 for name, found in run(*given).items()}
    )
    with pytest.raises(ParityError, match="native"):
        edgekit.export("msdnet", target="cpu", out=tmp_path / "a.edgekit", measure=False)
    assert not (tmp_path / "a.edgekit").exists()
