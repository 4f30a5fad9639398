"""Classifiers' training: a resumed run continues to the bit, nothing saved is lost, other options and absent data are refused."""

from __future__ import annotations

import hashlib
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
from safetensors.torch import load_file

from edgekit.cli import main
from edgekit.errors import CheckpointError, EdgekitError, OptionError
from edgekit.models.imta import build as build_imta
from edgekit.models.msdnet_stages import build as build_msdnet
from edgekit.models.training.checkpoint import read_training, save_training
from edgekit.models.training.classification.batches import Batch, Batches, Normalise
from edgekit.models.training.classification.data import load_data
from edgekit.models.training.classification.recipe import ClassificationRecipe, Training
from edgekit.models.training.classification.run import ClassifierRun, Lesson
from edgekit.models.training.classification.sources import Labelled
from edgekit.models.training.classification.training import train
from edgekit.models.training.imta import IMTARecipe
from edgekit.models.training.imta import make as make_imta
from edgekit.models.training.loop import CHECKPOINT, LOG
from edgekit.models.training.msdnet import MSDNetRecipe, make
from edgekit.models.training.msdnet_subject import MSDNetSubject
from tests.models.training.toy_pictures import CLASSES, write_pictures

SMALL = {"nBlocks": 2, "nChannels": 4, "growthRate": 4, "batch": 16, "averaging": 0.5}
RECIPE = MSDNetRecipe(epochs=2, early=0.3, seed=4, **SMALL)  # type: ignore[arg-type]
IMTA = IMTARecipe(epochs=3, exits_from=0.5, seed=4, **SMALL)  # type: ignore[arg-type]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


def _training(out: Path, pictures: Path, **options: object) -> Training:
    return replace(Training(out, str(pictures), threads=1, save_every=2), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["msdnet", "imta"])
def test_a_training_stopped_and_resumed_ends_with_the_same_bits(
    family: str, tmp_path: Path, pictures: Path
) -> None:
    def trained(out: str, **options: object) -> Path:
        if family == "msdnet":
            return train(_training(tmp_path / out, pictures, **options), RECIPE, make)
        return train(_training(tmp_path / out, pictures, **options), IMTA, make_imta)

    straight = trained("straight")
    trained("parts", stop_after=3)
    trained("parts", stop_after=7, resume=True)
    resumed = trained("parts", resume=True)
    for one, other in ((straight, resumed), (straight.with_name(CHECKPOINT), resumed.with_name(CHECKPOINT))):
        first, second = load_file(one), load_file(other)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_other_options_are_refused_on_resuming_and_named(tmp_path: Path, pictures: Path) -> None:
    train(_training(tmp_path / "out", pictures, stop_after=2), RECIPE, make)
    with pytest.raises(OptionError, match=r"batch was 16, now 8; rate was 0\.1, now 0\.2"):
        train(_training(tmp_path / "out", pictures, resume=True), replace(RECIPE, batch=8, rate=0.2), make)
    with pytest.raises(OptionError, match="data was 'pictures', now 'others'"):
        others = write_pictures(tmp_path / "others")
        train(_training(tmp_path / "out", others, resume=True), RECIPE, make)


def test_a_directory_that_holds_a_training_is_not_overwritten(tmp_path: Path, pictures: Path) -> None:
    train(_training(tmp_path / "out", pictures, stop_after=1), RECIPE, make)
    with pytest.raises(OptionError, match="--resume"):
        train(_training(tmp_path / "out", pictures), RECIPE, make)


def test_the_weights_build_the_network_and_the_card_tells_what_they_are(
    tmp_path: Path, pictures: Path
) -> None:
    weights = train(_training(tmp_path / "out", pictures), RECIPE, make)
    staged = build_msdnet(weights, {}, None)
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["parameters"] == sum(p.numel() for p in staged.net.parameters())
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert card["classes"] == list(CLASSES)
    assert card["pictures"] == {"train": 59, "validation": 7, "test": 6}
    assert (card["seed"], card["epochs"], card["recipe"]["batch"]) == (4, 2, 16)
    data = load_data(str(pictures), RECIPE.seed)
    planes = np.ascontiguousarray(data.test.images.transpose(0, 3, 1, 2))
    pictures_in = Normalise(staged.inputs[0].mean, staged.inputs[0].std)(planes)
    with torch.no_grad():
        right = [
            float(np.mean(one.argmax(1).numpy() == data.test.labels)) for one in staged.reference(pictures_in)
        ]
    assert list(card["accuracy"].values()) == pytest.approx(right, abs=1e-4)


def test_the_log_tells_every_step_once_and_is_drawn(tmp_path: Path, pictures: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the log")
    train(_training(tmp_path / "out", pictures, stop_after=2), RECIPE, make)
    with (tmp_path / "out" / LOG).open("a") as file:
        file.write('{"step": 3, "loss": 1.0}\n{"step": 4, "lo')  # what a killed run may leave
    train(_training(tmp_path / "out", pictures, resume=True), RECIPE, make)
    entries = [json.loads(line) for line in (tmp_path / "out" / LOG).read_text().splitlines()]
    steps = [entry["step"] for entry in entries if "loss" in entry]
    assert steps == sorted(set(steps))
    assert any("validation_percent" in entry for entry in entries)
    assert (tmp_path / "out" / "log.png").stat().st_size > 1000


def test_a_training_with_a_time_limit_ends_in_time_with_its_schedule_done(
    tmp_path: Path, pictures: Path
) -> None:
    recipe = replace(RECIPE, epochs=10_000, minutes=0.02)
    weights = train(_training(tmp_path / "out", pictures), recipe, make)
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["epochs"] < 10_000
    last = [json.loads(line) for line in (tmp_path / "out" / LOG).read_text().splitlines() if "rate" in line][
        -1
    ]
    assert last["rate"] < 0.01 * recipe.rate


def test_a_full_disk_on_the_way_is_told_and_in_the_end_leaves_the_last_checkpoint_whole(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(_training(tmp_path / "out", pictures, stop_after=2), RECIPE, make)
    before = (tmp_path / "out" / CHECKPOINT).read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        train(_training(tmp_path / "out", pictures, resume=True), RECIPE, make)
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "out" / CHECKPOINT).read_bytes() == before
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_ctrl_c_saves_the_step_it_interrupts(tmp_path: Path, pictures: Path, repository: Path) -> None:
    command = [
        sys.executable, "-m", "edgekit", "train", "msdnet", "--data", str(pictures), "--out", str(tmp_path / "out"),
        "--epochs", "100000", "--nBlocks", "2", "--nChannels", "4", "--growthRate", "4", "--threads", "1", "--save-every", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / CHECKPOINT).exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "go on with --resume" in output
    assert "Traceback" not in output


def test_absent_data_says_how_to_get_it_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="apt install dataset-fashion-mnist"):
        train(Training(tmp_path / "out", str(tmp_path / "cifar10_jpeg.npz")), RECIPE, make)
    monkeypatch.setattr("edgekit.models.training.classification.sources.FASHION", tmp_path)
    with pytest.raises(OptionError, match=r"Fashion-MNIST is not in .*apt install dataset-fashion-mnist"):
        train(Training(tmp_path / "out", "fashion-mnist"), RECIPE, make)
    assert not (tmp_path / "out").exists()


def test_a_folder_whose_test_classes_are_others_is_refused(tmp_path: Path, pictures: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    pictures.rename(both / "train")
    write_pictures(both / "test")
    (both / "test" / "red").rename(both / "test" / "yellow")
    with pytest.raises(OptionError, match="classes that train has not: yellow"):
        load_data(both, 1)


def test_labels_that_do_not_match_their_pictures_are_refused(tmp_path: Path) -> None:
    stream = np.frombuffer(b"x", np.uint8)
    np.savez(
        tmp_path / "broken.npz", train_bytes=stream, train_off=np.array([0, 1]), train_label=np.array([0])
    )
    with pytest.raises(OptionError, match="not the JPEG CIFAR-10 file, or damaged"):
        load_data(tmp_path / "broken.npz", 1)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [([0, 1, 2], "2 training pictures, but 3 labels"), ([0, 10], "labels run from 0 to 10")],
)
def test_labels_too_many_or_out_of_range_are_refused(
    labels: list[int], complaint: str, tmp_path: Path, repository: Path
) -> None:
    import cv2

    jpeg = cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].ravel()
    two = {"bytes": np.concatenate([jpeg, jpeg]), "off": np.array([0, len(jpeg), 2 * len(jpeg)])}
    arrays = {f"{part}_{name}": array for part in ("train", "test") for name, array in two.items()}
    np.savez(tmp_path / "data.npz", **arrays, train_label=np.array(labels), test_label=np.array([0, 1]))
    with pytest.raises(OptionError, match=complaint):
        load_data(tmp_path / "data.npz", 1)


def test_the_three_parts_share_no_picture(pictures: Path) -> None:
    data = load_data(str(pictures), 3)
    seen = [image.tobytes() for part in (data.train, data.validation, data.test) for image in part.images]
    assert len(set(seen)) == len(seen) == 72
    others = load_data(str(pictures), 4)
    assert not np.array_equal(others.validation.images, data.validation.images)


def test_crops_are_windows_of_the_mirrored_border_and_every_picture_comes_once_an_epoch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    part = Labelled(images, np.arange(20))
    batches = Batches(part, 5, 1, 2, True, Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    seen = []
    for step in range(4):
        batch = batches(step)
        for picture, label in zip(
            (batch.pictures * 255).round().byte().numpy(), batch.labels.tolist(), strict=True
        ):
            seen.append(label)
            padded = np.pad(images[label].transpose(2, 0, 1), ((0, 0), (2, 2), (2, 2)), mode="reflect")
            windows = [padded[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
            assert any(np.array_equal(picture, w) or np.array_equal(picture, w[:, :, ::-1]) for w in windows)
    assert sorted(seen) == list(range(20))


def test_fashion_mnist_reads_as_debian_packs_it() -> None:
    try:
        data = load_data("fashion-mnist", 1)
    except OptionError as error:
        pytest.skip(str(error))
    assert (len(data.train.labels), len(data.validation.labels), len(data.test.labels)) == (
        54000,
        6000,
        10000,
    )
    assert data.classes[int(data.test.labels[0])] == "ankle boot"
    assert data.test.images.shape == (10000, 32, 32, 3)


def test_without_collaboration_the_result_is_an_msdnet_else_an_imta(tmp_path: Path, pictures: Path) -> None:
    together = train(_training(tmp_path / "together", pictures), IMTA, make_imta)
    assert build_imta(together, {}, None).family == "imta"
    alone = train(_training(tmp_path / "alone", pictures), replace(IMTA, collaboration=False), make_imta)
    assert build_msdnet(alone, {}, None).family == "msdnet"


def test_the_exits_of_a_trained_msdnet_can_be_trained_alone(tmp_path: Path, pictures: Path) -> None:
    backbone = train(_training(tmp_path / "backbone", pictures), RECIPE, make)
    recipe = replace(IMTA, exits_from=0.0, initial=str(backbone))
    imta = load_file(train(_training(tmp_path / "imta", pictures), recipe, make_imta))
    frozen = load_file(backbone)
    assert all(torch.equal(imta[f"net.{name}"], tensor) for name, tensor in frozen.items())
    with pytest.raises(OptionError, match="--init"):
        replace(recipe, initial="")


def test_new_classifiers_start_with_the_answers_of_the_trained_ones(tmp_path: Path, pictures: Path) -> None:
    backbone = build_msdnet(train(_training(tmp_path / "backbone", pictures), RECIPE, make), {}, None).net
    for collaboration in (True, False):
        recipe = replace(IMTA, exits_from=0.0, initial="backbone", collaboration=collaboration)
        subject = make_imta(recipe, load_data(str(pictures), 1))
        subject.start_from(backbone.state_dict(), "backbone")
        subject.begin(0)
        subject.enter(0)
        image = torch.randn(4, 3, 32, 32)
        with torch.no_grad():
            answers, expected = subject.exits(subject.net.eval(), image), backbone(image)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(answers, expected, strict=True))


def test_exits_whose_share_is_less_than_a_step_have_the_answers_of_the_trained_ones(
    tmp_path: Path, pictures: Path
) -> None:
    weights = train(
        _training(tmp_path / "out", pictures), replace(IMTA, epochs=1, exits_from=0.99), make_imta
    )
    imta, image = build_imta(weights, {}, None).imta, torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        answers, expected = imta(image), imta.net(image)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(answers, expected, strict=True))


def test_a_value_out_of_range_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for words, complaint in (
        (["--epochs", "0"], "epochs=0: must be at least 1"),
        (["--schedule", "steps"], "must be cosine or linear"),
        (["--grFactor", "1,x"], "write numbers with commas between"),
        (["--precision", "float16"], "must be float32 or bfloat16"),
    ):
        with pytest.raises(EdgekitError, match=complaint):
            _raise_from(["train", "msdnet", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *words])


def _raise_from(words: list[str]) -> None:
    from edgekit.cli import VERBS, build_parser
    from edgekit.models.training import verb as train_verb

    verb = next(verb for verb in VERBS if verb.name == "train")
    train_verb.run(build_parser(verb, "edgekit").parse(words[1:]))


def test_an_unknown_option_of_a_family_is_named_with_what_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "msdnet", "--epoch", "3"]) == 2
    assert "there is no option --epoch" in capsys.readouterr().err


def test_pictures_are_scaled_to_the_size_that_is_asked_for(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, seen = MSDNetSubject.lesson, set()

    def watched(subject: MSDNetSubject, batch: Batch, progress: float) -> Lesson:
        seen.add(tuple(batch.pictures.shape[2:]))
        return learn(subject, batch, progress)

    monkeypatch.setattr(MSDNetSubject, "lesson", watched)
    train(_training(tmp_path / "out", pictures, stop_after=2), replace(RECIPE, size=20, early=0.0), make)
    assert seen == {(20, 20)}
    with pytest.raises(OptionError, match="sides of 17 to 48 px"):
        train(_training(tmp_path / "other", pictures), replace(RECIPE, size=12), make)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_a_clipped_gradient_moves_the_weights_by_no_more_than_its_greatest_length(
    clip: float, tmp_path: Path, pictures: Path
) -> None:
    recipe = replace(RECIPE, rate=1.0, momentum=0.0, warmup=0.0, decay=0.0, clip=clip)
    data = load_data(str(pictures), recipe.seed)
    run = ClassifierRun(make(recipe, data), data, recipe, _training(tmp_path / "out", pictures))
    before = [parameter.detach().clone() for parameter in run.subject.net.parameters()]
    run.advance(next(run.works()))
    moved = [after - one for after, one in zip(run.subject.net.parameters(), before, strict=True)]
    length = float(torch.stack([one.detach().norm() for one in moved]).norm())
    assert length == pytest.approx(0.01, rel=1e-3) if clip else length > 0.1


def test_a_checkpoint_from_before_an_option_is_resumed_with_what_is_usual(
    tmp_path: Path, pictures: Path
) -> None:
    train(_training(tmp_path / "out", pictures, stop_after=2), RECIPE, make)
    checkpoint = tmp_path / "out" / CHECKPOINT
    tensors, facts = read_training(checkpoint)
    del facts["recipe"]["clip"]
    save_training(checkpoint, tensors, facts)
    with pytest.raises(OptionError, match=r"clip was 0\.0, now 1\.0"):
        train(_training(tmp_path / "out", pictures, resume=True), replace(RECIPE, clip=1.0), make)
    train(_training(tmp_path / "out", pictures, resume=True, stop_after=3), RECIPE, make)


def test_the_step_size_rises_and_falls_to_nothing() -> None:
    recipe = ClassificationRecipe(rate=0.2, warmup=0.25)
    rates = [recipe.rate_at(share / 100) for share in range(101)]
    assert max(rates) == pytest.approx(0.2) and rates.index(max(rates)) == 25
    assert rates[:26] == sorted(rates[:26]) and rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
