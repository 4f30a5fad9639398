"""AnyNet computes what the authors' implementation computes, reads what they wrote, and can be trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.anynet import AnyNet, AnyNetOptions, build, from_weights, infer_options
from edgekit.models.checkpoint import read_state_dict
from tests.models.golden_errors import AS_RECORDED

SMALL = (1, 3, 64, 96)


def _pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(SMALL), torch.randn(SMALL)


def _weights(**options: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return AnyNet(AnyNetOptions(**options)).state_dict()  # type: ignore[arg-type]


def test_every_golden_case_is_met_to_a_thousandth_of_a_pixel(shared: Path, repository: Path) -> None:
    """99.9 % of the pixels, in a process of its own with the instruction set of the recording; golden_errors.py says why."""
    cases = sorted((shared / "golden").glob("anynet_*.json"))
    assert cases
    for case in cases:
        process = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("golden_errors.py")), str(case)],
            env={**os.environ, **AS_RECORDED, "PYTHONPATH": str(repository)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        for output, beyond in json.loads(process.stdout).items():
            assert beyond <= 1e-3, f"{case.name}: {beyond:.2%} of {output} is further than 1e-3 px away"


def test_the_vectors_are_no_closer_to_exact_arithmetic_than_a_thousandth_and_we_are_about_as_close(
    shared: Path,
) -> None:
    """Why the bar is asked for with the instruction set of the recording: exact arithmetic does not meet it either.

    With the instructions that this machine has, whichever they are, our mean distance from float64 stays within twice the
    recording's at every exit (measured with AVX-512: 0.8 to 1.6 times; with AVX2: 1.0).
    """
    recorded_beyond = []
    for case in sorted((shared / "golden").glob("anynet_*.json")):
        spec, arrays = json.loads(case.read_text()), np.load(case.with_suffix(".npz"))
        net = from_weights(read_state_dict(case.parent / spec["checkpoint"]), spec["config"], case.name)
        views = [torch.from_numpy(arrays[name]) for name in spec["inputs"]]
        with torch.no_grad():
            ours = net(*views)
            exact = net.double()(*(view.double() for view in views))
        for name, mine, truth in zip(spec["outputs"], ours, exact, strict=True):
            recorded = (torch.from_numpy(arrays[name]).double() - truth).abs()
            assert (mine.double() - truth).abs().mean() <= 2 * recorded.mean(), f"{case.name} {name}"
            recorded_beyond.append(float((recorded > 1e-3).double().mean()))
    assert max(recorded_beyond) > 0.02


def test_the_authors_own_weights_load_although_they_count_no_batches(shared: Path) -> None:
    path = shared / "data" / "anynet" / "kitti2015_checkpoint.tar"
    weights = read_state_dict(path)
    assert not any(name.startswith("module.") or name.endswith("num_batches_tracked") for name in weights)
    assert from_weights(weights, {}, str(path)).options.with_spn


def test_parameters_and_names_are_those_of_the_paper() -> None:
    without = AnyNet(AnyNetOptions(with_spn=False))
    assert sum(parameter.numel() for parameter in without.parameters()) == 34_629
    assert len(AnyNet().eval()(*_pair())) == 4 and len(without.eval()(*_pair())) == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"with_spn": False},
        {"init_channels": 2, "nblocks": 3},
        {"layers_3d": 2, "channels_3d": 2, "growth_rate": (4, 2, 1)},
        {"spn_init_channels": 4, "maxdisplist": (8, 2, 4)},
    ],
    ids=str,
)
def test_options_come_from_the_weights_themselves(options: dict[str, object]) -> None:
    weights = _weights(**options)
    told = {name: options[name] for name in ("maxdisplist", "channels_3d") if name in options}
    inferred = infer_options(weights, told, "weights")
    wanted = AnyNetOptions(**options)  # type: ignore[arg-type]
    if not inferred.with_spn:  # then nothing tells the channels of what is not there
        assert not wanted.with_spn
    else:
        assert inferred.spn_init_channels == wanted.spn_init_channels
    assert AnyNet(inferred).state_dict().keys() == weights.keys()
    assert inferred.maxdisplist == wanted.maxdisplist and inferred.layers_3d == wanted.layers_3d


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"init_channels": 2}, "init_channels"),
        ({"with_spn": False}, "with_spn"),
        ({"nblocks": 3}, "nblocks"),
        ({"layers_3d": 5}, "layers_3d"),
        ({"spn_init_channels": 4}, "spn_init_channels"),
        ({"growth_rate": [1, 1, 1]}, "growth_rate"),
        ({"maxdisplist": [12, 3]}, "maxdisplist"),
        ({"maxdisplist": [12, 3, 0]}, "maxdisplist"),
        ({"maxdisplist": [10**9, 3, 3]}, "at most 256"),
        ({"maxdisp": 12}, "maxdisp"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused_by_name(
    config: dict[str, object], word: str
) -> None:
    with pytest.raises(OptionError, match=word):
        from_weights(_weights(), config, "weights")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_data_parallel_compiled_and_training_dictionaries_are_seen_through(
    tmp_path: Path, prefix: str
) -> None:
    weights = _weights()
    wrapped = {
        f"{prefix}{name}": tensor
        for name, tensor in weights.items()
        if not name.endswith("num_batches_tracked")
    }
    for legacy in (False, True):
        torch.save(
            {"epoch": 3, "state_dict": wrapped}, tmp_path / "c.tar", _use_new_zipfile_serialization=not legacy
        )
        staged = build(tmp_path / "c.tar", {}, (64, 96))
        with torch.no_grad():
            ours, theirs = staged.reference(*_pair()), from_weights(weights, {}, "w")(*_pair())
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_stages_one_after_the_other_are_the_uncut_network(tmp_path: Path) -> None:
    torch.save(_weights(), tmp_path / "c.pth")
    staged = build(tmp_path / "c.pth", {}, SMALL[2:])
    known = dict(zip(("left", "right"), _pair(), strict=True))
    with torch.no_grad():
        for stage in staged.stages():
            out = stage.module(*(known[name] for name in stage.inputs))
            known.update(zip(stage.outputs, out if isinstance(out, tuple) else (out,), strict=True))
        for k, exit_ in enumerate(staged.reference(known["left"], known["right"]), 1):
            torch.testing.assert_close(known[f"disparity{k}"], exit_, rtol=1e-4, atol=1e-3)


def test_gradients_reach_every_parameter_the_propagation_included() -> None:
    torch.manual_seed(0)
    net = AnyNet().train()
    left, right = torch.randn(2, 3, 64, 96), torch.randn(2, 3, 64, 96)
    sum(exit_.mean() for exit_ in net(left, right)).backward()  # type: ignore[union-attr]
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_a_shift_between_the_views_is_found_by_a_network_that_was_trained(shared: Path) -> None:
    path = shared / "data" / "anynet" / "kitti2015_checkpoint.tar"
    net = from_weights(read_state_dict(path), {}, str(path))
    torch.manual_seed(2)
    texture = torch.nn.functional.interpolate(torch.rand(1, 3, 64, 192), scale_factor=4, mode="bilinear")
    wide = (texture - 0.45) / 0.225
    with torch.no_grad():
        disparity = net(wide[..., :704], wide[..., 40:744])[-1]
    assert abs(float(disparity[..., 50:200, 100:600].median()) - 40) < 2


def test_pictures_too_small_for_sixteen_pixels_a_cell_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 32x32"):
        build_small()


def build_small() -> object:
    from edgekit.models.anynet import StagedAnyNet

    return StagedAnyNet(AnyNet(), (16, 640))


class TestCheckpointsThatCannotBeUsed:
    """Each with one sentence that names the file, and never a traceback."""

    def _refused(self, path: Path) -> str:
        with pytest.raises(CheckpointError) as raised:
            build(path, {}, (64, 96))
        assert str(path) in str(raised.value)
        return str(raised.value)

    def test_missing(self, tmp_path: Path) -> None:
        assert "no such" in self._refused(tmp_path / "nothing.tar")

    def test_of_another_network(self, tmp_path: Path) -> None:
        torch.save({"state_dict": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "c.tar")
        assert "not an AnyNet" in self._refused(tmp_path / "c.tar")
        odd = {**_weights(), "volume_postprocess.0.0.2.weight": torch.zeros(())}
        torch.save({"state_dict": odd}, tmp_path / "odd.tar")
        assert "without sides" in self._refused(tmp_path / "odd.tar")

    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
    def test_truncated_anywhere(self, tmp_path: Path, legacy: bool) -> None:
        torch.save(
            {"state_dict": _weights()}, tmp_path / "whole.tar", _use_new_zipfile_serialization=not legacy
        )
        whole = (tmp_path / "whole.tar").read_bytes()
        for length in (0, 1, 100, len(whole) // 3, len(whole) // 2, len(whole) - 200, len(whole) - 1):
            (tmp_path / "cut.tar").write_bytes(whole[:length])
            self._refused(tmp_path / "cut.tar")

    def test_needing_code_to_be_run(self, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "owned"),)

        torch.save({"state_dict": _weights(), "extra": Payload()}, tmp_path / "c.tar")
        assert "could run code" in self._refused(tmp_path / "c.tar")
        assert not (tmp_path / "owned").exists()

    def test_no_checkpoint_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "c.tar").write_text("hello")
        self._refused(tmp_path / "c.tar")
        torch.save([1, 2, 3], tmp_path / "list.tar")
        assert "no weights" in self._refused(tmp_path / "list.tar")
        (tmp_path / "c.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
        self._refused(tmp_path / "c.safetensors")

    def test_of_a_training_that_diverged(self, tmp_path: Path) -> None:
        weights = _weights()
        weights["feature_extraction.block0.0.0.weight"][0] = float("nan")
        torch.save(weights, tmp_path / "c.tar")
        assert "NaN" in self._refused(tmp_path / "c.tar")

    def test_with_a_tensor_missing_or_left_over(self, tmp_path: Path) -> None:
        weights = _weights()
        weights.pop("volume_postprocess.2.0.0.running_mean")
        torch.save(weights, tmp_path / "c.tar")
        assert "running_mean" in self._refused(tmp_path / "c.tar")
        torch.save({**_weights(), "extra.weight": torch.zeros(2)}, tmp_path / "c.tar")
        assert "extra.weight" in self._refused(tmp_path / "c.tar")
