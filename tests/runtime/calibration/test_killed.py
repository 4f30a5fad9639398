"""A calibration that is killed or interrupted leaves the bundle whole: as it was before, or as it is after."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import Bundle, read_bundle
from edgekit.runtime.calibration.bundled import read_calibration
from edgekit.runtime.calibration.recorded_logits import Recorded, write_recorded
from edgekit.runtime.profile import bundle_hash
from tests.toy_graphs import write_exits

ROOT = Path(__file__).resolve().parents[3]
# Runs the verb, and gets the signal as soon as it has asked the system for so many steps that change the disk.
KILLED = """
import os, sys
from edgekit import cli
number, left = int(sys.argv[1]), int(sys.argv[2])
def stopping(call):
    def step(*arguments, **options):
        global left
        if left == 0:
            left = -1
            os.kill(os.getpid(), number)
        left -= 1
        return call(*arguments, **options)
    return step
for name in ("replace", "fsync", "unlink", "makedirs"):
    setattr(os, name, stopping(getattr(os, name)))
sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A classifier of three exits and four classes."""
    return write_exits(str(tmp_path / "exits.edgekit"), 3, 4)


@pytest.fixture
def logits(tmp_path: Path, bundle: Bundle) -> Path:
    """What its exits said of samples, each exit surer and more often right than the one before."""
    random = np.random.RandomState(0)
    labels = random.randint(0, 4, 400)
    noise = random.standard_normal((3, 400, 4))
    right = np.eye(4)[labels] * np.array([1.0, 2.0, 4.0])[:, None, None]
    path = tmp_path / "logits.npz"
    write_recorded(
        str(path), Recorded((right + noise).astype(np.float32), labels, "here", bundle_hash(bundle))
    )
    return path


def calibrate(number: int, steps: int, bundle: Bundle, logits: Path, *goal: str) -> "subprocess.Popen[str]":
    arguments = ["calibrate", bundle.path, "--data", str(logits), *goal]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(int(number)), str(steps), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, env=environment, cwd=str(ROOT),
    )  # fmt: skip


def test_killed_at_any_step_of_writing_it_leaves_the_bundle_as_before_or_after(
    bundle: Bundle, logits: Path
) -> None:
    seen = set()
    for steps in range(20):
        before = read_calibration(bundle)
        goal = ("--shares", "50,30,20") if steps % 2 else ("--shares", "20,30,50")
        process = calibrate(signal.SIGKILL, steps, bundle, logits, *goal)
        said = process.communicate(timeout=60)[1]
        bundle = read_bundle(bundle.path, check="hash")  # whole
        after = read_calibration(bundle)
        seen.add(after != before)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
    else:
        pytest.fail("it never came to its end")
    assert steps > 4 and seen == {True, False}


def test_interrupted_it_says_so_without_a_traceback_and_changes_nothing(bundle: Bundle, logits: Path) -> None:
    before = bundle.manifest
    process = calibrate(signal.SIGINT, 1, bundle, logits, "--shares", "50,30,20")
    said = process.communicate(timeout=60)[1]
    assert process.returncode not in (0, 1) and "Traceback" not in said
    assert read_bundle(bundle.path, check="hash").manifest == before
    assert not os.path.isdir(os.path.join(bundle.path, "calibration")) or not os.listdir(
        os.path.join(bundle.path, "calibration")
    )
