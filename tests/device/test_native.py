"""The backend `native` as it is used on a robot: `python3 BUNDLE VERB`, its kernels built by this device's own compiler."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List

import numpy as np
import pytest

from edgekit.bundle import read_bundle
from edgekit.kernels.compiling import compiler_there
from edgekit.runtime.pictures import write_png
from edgekit.runtime.variants import covered

FOLDER = os.environ.get("EDGEKIT_LOWERED")
NAMES: List[str] = [
    path.name
    for path in (sorted(Path(FOLDER).glob("*.edgekit")) if FOLDER else [])
    if covered(read_bundle(str(path)).manifest, "native")
]


def call(bundle: Path, *arguments: object) -> str:
    """What it prints; nothing of edgekit's but the bundle is on the path."""
    process = subprocess.run(
        [sys.executable, str(bundle)] + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        cwd=str(bundle.parent),
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.parametrize("name", NAMES or [None])
def test_it_computes_measures_and_answers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if FOLDER is None or name is None:
        pytest.skip(
            "EDGEKIT_LOWERED is not set, or has no bundle with programs: run scripts/lowered-bundles FOLDER and set it"
        )
    if not compiler_there():
        pytest.skip("needs a C compiler (cc, gcc or clang, or $CC), and there is none")
    (tmp_path / "home" / ".cache").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    bundle = tmp_path / name
    shutil.copytree(str(Path(FOLDER, name)), str(bundle))
    picture = str(tmp_path / "picture.png")
    write_png(picture, np.random.RandomState(0).randint(0, 256, (40, 50, 3)).astype(np.uint8))
    wanted = ["--backend", "native"]
    assert (
        "built when they are first used" in json.loads(call(bundle, "doctor", "--json"))["software"]["native"]
    )
    assert call(bundle, "verify", "--all-variants", *wanted).endswith("Every answer is right.\n")
    assert len(os.listdir(str(tmp_path / "home" / ".cache" / "edgekit"))) == 1
    measured = json.loads(call(bundle, "bench", "--runs", 5, "--warmup", 1, "--json", *wanted))
    assert measured["settings"]["backend"].startswith("native ") and os.path.isfile(measured["profile"])
    answers = [
        json.loads(call(bundle, "run", "--image", picture, "--json", *options))
        for options in (wanted, ["--backend", "onnxruntime"])
    ]
    assert answers[0]["stage"] == answers[1]["stage"] and answers[0]["reason"] == "final"
