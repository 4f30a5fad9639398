"""AnyNet's training: the quick forward pass is the plain one, a resumed run continues to the bit, nothing saved is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.cli import main
from edgekit.errors import CheckpointError, OptionError
from edgekit.models.anynet import AnyNet, propagate
from edgekit.models.evaluate_stereo import epe_d1
from edgekit.models.training.anynet import CARD, WEIGHTS, Recipe, Training, train
from edgekit.models.training.anynet_forward import Propagation, TrainingAnyNet, disparity_loss
from edgekit.models.training.loop import CHECKPOINT, LOG
from edgekit.models.training.scenes.batches import ScenePool

RECIPE = Recipe(steps=6, height=64, width=64, batch=2, seed=4, scenes=3, warmup=2, joins=(0.2, 0.4, 0.6))


@pytest.fixture(autouse=True)
def small_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes of 96x128 instead of 384x768."""

    def small(directory: Path, seed: int, scenes: int) -> ScenePool:
        return ScenePool(directory, seed, scenes, 96, 128)

    monkeypatch.setattr("edgekit.models.training.anynet_run.ScenePool", small)


def _training(out: Path, recipe: Recipe = RECIPE, **options: object) -> Training:
    return replace(Training(out, recipe, threads=1, workers=0, save_every=2), **options)  # type: ignore[arg-type]


def test_the_quick_forward_pass_and_its_gradients_are_those_of_the_plain_network() -> None:
    torch.manual_seed(0)
    plain, quick = AnyNet().double(), TrainingAnyNet().double()
    left, right = torch.randn(2, 2, 3, 64, 96, dtype=torch.float64)
    plain.train()
    plain(left, right)  # gives batch norm statistics of its own
    quick.load_state_dict(plain.state_dict())
    plain.eval()
    quick.eval()
    expected, found = plain(left, right), quick(left, right)
    for exit_, other in zip(expected, found, strict=True):
        assert torch.allclose(exit_, other, atol=1e-9)
    torch.stack(expected).square().mean().backward()  # type: ignore[no-untyped-call]
    torch.stack(found).square().mean().backward()  # type: ignore[no-untyped-call]
    for (name, parameter), other in zip(plain.named_parameters(), quick.parameters(), strict=True):
        assert parameter.grad is not None and other.grad is not None, name
        assert torch.allclose(parameter.grad, other.grad, atol=1e-9), name


def test_the_written_out_gradient_of_the_propagation_is_the_recorded_one() -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    x, *gates = inputs
    gates = [gate * 0.3 for gate in gates]
    expected = torch.autograd.grad((propagate(x, *gates) ** 2).sum(), inputs, retain_graph=True)
    found = torch.autograd.grad((Propagation.apply(x, *gates) ** 2).sum(), inputs)  # type: ignore[no-untyped-call]
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other)


def test_a_training_stopped_and_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    straight = train(_training(tmp_path / "straight"))
    train(_training(tmp_path / "halves", stop_after=3))
    resumed = train(_training(tmp_path / "halves", resume=True))
    for name in (WEIGHTS, CHECKPOINT):
        one, other = load_file(straight.with_name(name)), load_file(resumed.with_name(name))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_weights_of_a_finished_training_fill_the_plain_network_and_come_with_a_card(
    tmp_path: Path,
) -> None:
    weights = train(_training(tmp_path))
    AnyNet().load_state_dict(load_file(weights))
    card = json.loads((tmp_path / CARD).read_text())
    assert card["family"] == "anynet"
    assert [training["seed"] for training in card["trainings"]] == [RECIPE.seed]
    assert card["trainings"][0]["steps_done"] == RECIPE.steps
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()]
    assert steps[-1] == RECIPE.steps


def test_a_training_that_starts_from_weights_remembers_how_those_were_made(tmp_path: Path) -> None:
    first = train(_training(tmp_path / "first", replace(RECIPE, steps=1)))
    second = train(_training(tmp_path / "second", replace(RECIPE, steps=1, initial=str(first), rate=1e-3)))
    trainings = json.loads((second.parent / CARD).read_text())["trainings"]
    assert [training["rate"] for training in trainings] == [RECIPE.rate, 1e-3]
    assert trainings[1]["initial"] == WEIGHTS


def test_the_propagation_stage_can_be_trained_alone(tmp_path: Path) -> None:
    first = train(_training(tmp_path / "first"))
    alone = replace(RECIPE, steps=3, exit_weights=(0, 0, 0, 1), joins=(0, 0, 0), initial=str(first))
    before, after = load_file(first), load_file(train(_training(tmp_path / "alone", alone)))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("refine_spn.")}


def test_initial_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="initial weights"):
        train(_training(tmp_path / "out", replace(RECIPE, initial=str(tmp_path / "other.safetensors"))))


def test_other_options_are_refused_on_resuming_and_named(tmp_path: Path) -> None:
    train(_training(tmp_path, stop_after=2))
    other = replace(RECIPE, batch=1, rate=1e-3)
    with pytest.raises(OptionError, match=r"batch was 2, now 1; rate was 0\.006, now 0\.001"):
        train(_training(tmp_path, other, resume=True))


def test_a_directory_that_holds_a_training_is_not_overwritten(tmp_path: Path) -> None:
    train(_training(tmp_path, stop_after=1))
    with pytest.raises(OptionError, match="--resume"):
        train(_training(tmp_path))


def test_resuming_where_nothing_was_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nothing to resume"):
        train(_training(tmp_path, resume=True))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"not safetensors")
    with pytest.raises(CheckpointError, match="not a training checkpoint"):
        train(_training(tmp_path, resume=True))


def test_a_crop_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(OptionError, match="multiples of 16"):
        Recipe(height=250)


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_training(tmp_path, stop_after=2))
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        train(_training(tmp_path, resume=True))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_a_log_line_cut_short_by_a_kill_is_dropped_on_resuming(tmp_path: Path) -> None:
    train(_training(tmp_path, stop_after=2))
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    train(_training(tmp_path, resume=True))
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_ctrl_c_saves_the_step_it_interrupts(tmp_path: Path, repository: Path) -> None:
    command = [
        sys.executable, "-m", "edgekit", "train", "anynet", "--out", str(tmp_path), "--steps", "1000",
        "--size", "64x64", "--batch", "1", "--scenes", "1", "--threads", "1", "--workers", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / LOG).exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "--resume" in output
    assert (tmp_path / CHECKPOINT).exists()
    assert "Traceback" not in output


def test_the_command_prints_one_json_document_with_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "anynet",
        "--out",
        str(tmp_path),
        "--steps",
        "2",
        "--size",
        "64x64",
        "--batch",
        "1",
        "--scenes",
        "1",
    ]
    assert main([*words, "--threads", "1", "--workers", "0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["written"], document["finished"]) == (str(tmp_path / WEIGHTS), True)
    assert document["card"] == json.loads((tmp_path / CARD).read_text())
    assert main([*words, "--json"]) == 2  # there is a training already
    assert "add --resume" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_unknown_pixels_have_no_part_in_the_loss() -> None:
    truth = torch.tensor([[[[0.0, 10.0], [300.0, 20.0]]]])
    right = torch.tensor([[[[55.0, 10.0], [55.0, 20.0]]]])
    assert disparity_loss([right], truth, (1.0,), 192.0).item() == 0


def test_a_softened_loss_still_prefers_the_smaller_error_and_caps_the_pull_of_the_large_one() -> None:
    truth = torch.full((1, 1, 1, 3), 50.0)
    found = torch.tensor([[[[50.5, 53.0, 120.0]]]], requires_grad=True)
    disparity_loss([found], truth, (1.0,), 192.0, softening=8.0).backward()  # type: ignore[no-untyped-call]
    assert found.grad is not None
    small, middle, large = found.grad.flatten().tolist()
    assert 0 < large < 0.25 * middle
    assert small > large


def test_d1_counts_errors_above_3_px_and_5_percent_and_holes() -> None:
    truth = np.array([[10, 10, 100, 100, 50, 0]], np.float32)
    found = np.array([[12.9, 13.1, 104, 106, -1, 7]], np.float32)
    epe, d1 = epe_d1(found, truth, truth > 0)
    assert d1 == pytest.approx(60.0)  # of five known pixels: 13.1, 106 and the hole
    assert epe == pytest.approx((2.9 + 3.1 + 4 + 6 + 50) / 5, rel=1e-5)
