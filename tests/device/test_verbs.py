"""The verbs of a bundle as they are used on a robot: `python3 BUNDLE VERB`, by this very interpreter, from another folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from edgekit.bundle import read_bundle
from edgekit.runtime.pictures import read_disparity, read_picture, write_png


@pytest.fixture(scope="module")
def pictures(bundle: Path, tmp_path_factory: "pytest.TempPathFactory") -> List[str]:
    """Options that name one picture per network input, of a size that is not the network's."""
    folder = tmp_path_factory.mktemp("pictures")
    options = []  # type: List[str]
    for number, spec in enumerate(read_bundle(bundle).manifest.inputs):
        path = str(folder / (spec.name + ".png"))
        write_png(path, np.random.RandomState(number).randint(0, 256, (201, 333, 3)).astype(np.uint8))
        options += ["--" + spec.name, path]
    return options


def call(bundle: Path, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    # Nothing of edgekit's but the bundle: no checkout on the path, and the poorest locale there is.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LC_", "LANG"))}
    return subprocess.run(
        [sys.executable, str(bundle)] + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        cwd=str(bundle.parent),
        env=dict(clean, LC_ALL="C", **environment),
    )


def document(process: "subprocess.CompletedProcess[str]") -> Dict[str, object]:
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert isinstance(found, dict)
    return found


def test_it_computes_here_what_it_computed_where_it_was_exported(bundle: Path) -> None:
    process = call(bundle, "verify", "--all-variants")
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.endswith("Every answer is right.\n")


def test_it_says_what_it_holds(bundle: Path) -> None:
    stages = [stage.name for stage in read_bundle(bundle).manifest.stages]
    assert [stage["name"] for stage in document(call(bundle, "inspect", "--json"))["stages"]] == stages  # type: ignore
    assert call(bundle, "inspect").returncode == 0


def test_it_measures_every_stage_and_keeps_the_profile(bundle: Path) -> None:
    found = document(call(bundle, "bench", "--runs", 3, "--warmup", 1, "--rate", 5, "--json"))
    stages = [stage.name for stage in read_bundle(bundle).manifest.stages]
    assert list(found["stages"]) == stages  # type: ignore
    assert os.path.isfile(str(found["profile"]))
    report = call(bundle, "bench", "--runs", 2, "--variants", "default", "--max-p99", 1e6)
    assert report.returncode == 0 and "too few for a 99th percentile" in report.stdout, report.stderr


def test_it_answers_pictures_within_a_budget_and_writes_what_it_saw(
    bundle: Path, pictures: List[str]
) -> None:
    folder = str(bundle.parent)
    saved = [os.path.join(folder, name) for name in ("d.npy", "d.pfm", "d.png")]
    options = [word for path in saved for word in ("--save", path)]
    if read_bundle(bundle).manifest.task != "stereo":
        saved, options = [], []
    found = document(call(bundle, "run", "--budget-ms", 60000, "--json", *(pictures + options)))
    assert found["reason"] == "final" and found["missed"] is False
    if saved:
        disparity = np.load(saved[0])
        assert disparity.shape == (201, 333) and np.isfinite(disparity).all()
        assert np.array_equal(read_disparity(saved[1]), disparity)
        assert read_picture(saved[2]).shape == (201, 333, 3)


def test_it_writes_a_page_about_itself(bundle: Path, pictures: List[str]) -> None:
    page = bundle.parent / "report.html"
    found = document(call(bundle, "report", "--runs", 5, "--warmup", 1, "--out", page, "--json", *pictures))
    assert found["page"] == str(page)
    with open(str(page), "rb") as file:
        text = file.read().decode("utf-8")
    assert text.count("<svg") > 8 and all(stage.name in text for stage in read_bundle(bundle).manifest.stages)


def test_it_says_what_this_device_is(bundle: Path) -> None:
    found = document(call(bundle, "doctor", "--json"))
    assert found["software"]["python"] == sys.version.split()[0]  # type: ignore
    assert call(bundle, "doctor").returncode == 0


def test_a_damaged_copy_is_refused_in_one_sentence(bundle: Path, pictures: List[str]) -> None:
    copy = bundle.parent / "damaged.edgekit"
    shutil.copytree(str(bundle), str(copy))
    graph = os.path.join(str(copy), read_bundle(bundle).manifest.stages[0].variants[0].graph)
    with open(graph, "r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 255]))
    assert call(copy, "verify").returncode == 1
    process = call(copy, "bench", "--runs", 1)
    assert (
        process.returncode == 2
        and len(process.stderr.splitlines()) == 1
        and "Traceback" not in process.stderr
    )


def test_mistakes_are_one_sentence(bundle: Path) -> None:
    for arguments in (
        ["benhc"],
        ["bench", "--run", "3"],
        ["run"],
        ["run", "--image", "nowhere.png"],
        ["export"],
    ):
        process = call(bundle, *arguments)
        assert process.returncode == 2 and process.stdout == ""
        assert process.stderr.startswith("edgekit: ") and len(process.stderr.splitlines()) == 1


def test_it_answers_a_folder_of_frames_and_keeps_them(
    bundle: Path, pictures: List[str], tmp_path: Path
) -> None:
    places = []  # type: List[str]
    for option, path in zip(pictures[0::2], pictures[1::2]):
        folder = tmp_path / option.strip("-")
        folder.mkdir()
        for number in range(3):
            shutil.copy(path, str(folder / f"{number}.png"))
        places.append(str(folder))
    recording = str(tmp_path / "run.mcap")
    options = ["--rate", 4, "--budget-ms", 60000, "--record", recording, "--json"]
    found = document(call(bundle, "run", "--source", *(places + options)))
    assert (found["captured"], found["answered"], found["failed"]) == (3, 3, 0)
    assert found["written"] and os.path.getsize(recording) > 0
    refused = call(bundle, "run", "--source", str(tmp_path / "absent"))
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
