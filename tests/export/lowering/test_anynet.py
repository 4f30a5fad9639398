"""Every variant of every stage gives what the stage's own module gives, for the options that checkpoints may have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.export.lowering import PREFERENCES, default_variant, variants
from edgekit.models.anynet import AnyNet, AnyNetOptions, StagedAnyNet, build
from edgekit.models.staged import Stage
from tests.export.lowering.random_weights import maps, shaken

OPTIONS = [
    AnyNetOptions(with_spn=True),
    AnyNetOptions(
        init_channels=2, nblocks=1, layers_3d=2, maxdisplist=(8, 4, 2), channels_3d=8, with_spn=True
    ),
    AnyNetOptions(
        init_channels=3, maxdisplist=(6, 1, 5), channels_3d=2, growth_rate=(3, 2, 8), spn_init_channels=4
    ),
    AnyNetOptions(
        init_channels=5, layers_3d=0, channels_3d=6, growth_rate=(4, 3, 1), nblocks=3, with_spn=False
    ),
]


def _shapes(stage: Stage, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensors[name].shape) for name in stage.inputs}


def _run(module: nn.Module, stage: Stage, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        results = module(*(tensors[name] for name in stage.inputs))
    return dict(zip(stage.outputs, results if isinstance(results, tuple) else (results,), strict=True))


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda o: f"c{o.init_channels}-3d{o.channels_3d}x{o.growth_rate}"
)
def test_every_variant_gives_what_the_stage_gives(options: AnyNetOptions) -> None:
    net = shaken(AnyNet(options), seed=options.init_channels)
    assert isinstance(net, AnyNet)
    tensors = {"left": maps(1, 1, 3, 64, 112), "right": maps(2, 1, 3, 64, 112)}
    for stage in StagedAnyNet(net, (64, 112)).stages():
        expected = _run(stage.module, stage, tensors)
        for name, module in variants(stage.module, _shapes(stage, tensors)).items():
            for output, tensor in _run(module, stage, tensors).items():
                tolerance = 2e-3 * max(1.0, float(expected[output].abs().max()))
                torch.testing.assert_close(
                    tensor,
                    expected[output],
                    rtol=1e-3,
                    atol=tolerance,
                    msg=lambda m, n=name, o=output: f"{n} {o}: {m}",
                )
        tensors |= expected


@pytest.mark.parametrize("case", ["anynet_spn", "anynet_nospn"])
def test_the_defaults_agree_with_the_authors_network_on_the_golden_pictures(shared: Path, case: str) -> None:
    golden = np.load(shared / "golden" / f"{case}.npz")
    tensors = {view: torch.from_numpy(golden[view]) for view in ("left", "right")}
    model = build(shared / "golden" / f"{case}.tar", {}, tensors["left"].shape[2:])  # type: ignore[arg-type]
    for backend in PREFERENCES:
        chain = dict(tensors)
        for stage in model.stages():
            forms = variants(stage.module, _shapes(stage, chain))
            chain |= _run(forms[default_variant(forms, backend)], stage, chain)
            assert stage.exit is not None
            error = np.abs(chain[stage.exit].numpy() - golden[stage.name])
            assert np.quantile(error, 0.999) < 2e-2, (backend, stage.name)


def test_a_backend_starts_with_its_preference_and_takes_what_there_is() -> None:
    assert default_variant({"conv3d": 1, "planes": 2, "winograd": 3}, "onnxruntime") == "winograd"
    assert default_variant({"conv3d": 1, "batched": 2}, "tensorrt") == "batched"
    assert default_variant({"mine": 1}, "tensorrt") == "mine"


def test_a_module_without_a_lowering_is_its_own_only_variant() -> None:
    module = nn.ReLU()
    assert variants(module, {"x": (1, 2)}) == {"plain": module}
