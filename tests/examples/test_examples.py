"""The examples run as they stand, from another folder, and say what they promise to."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def run(tmp_path: Path, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_network_of_ones_own_is_exported_and_run(tmp_path: Path) -> None:
    said = run(tmp_path, "custom_network.py", "--budget-ms", "1000")
    assert "budget None ms: stage2" in said and "budget 1000.0 ms: stage2" in said
    assert list(tmp_path.iterdir()) == []


def test_the_robot_stops_for_what_is_near(tmp_path: Path) -> None:
    said = run(tmp_path, "obstacle_stop.py", "--budget-ms", "2000", "--frames", "6").splitlines()
    frames = [line for line in said if line.startswith("frame")]
    assert len(frames) == 6 and all("by stage4" in line for line in frames)
    for line in frames:
        near = float(line.split(":")[1].split()[0])
        assert line.endswith("STOP") == (near < 1.5)


def test_two_networks_share_every_frame(tmp_path: Path) -> None:
    said = run(tmp_path, "two_networks.py", "--budget-ms", "2000", "--frames", "2")
    assert said.count("depth stage4, signs stage2") == 2
    assert "its minimum" in said and "nothing is left to gain" in said
    assert "0 of 2 frames late" in said


@pytest.mark.slow
def test_one_camera_feeds_two_networks(tmp_path: Path) -> None:
    said = run(tmp_path, "one_camera.py", "--budget-ms", "2000", "--seconds", "2", "--rate", "4")
    assert "depth by stage1" in said and "depth by stage4" in said and "sign " in said
    assert "0 late" in said.splitlines()[-1] and "by signs stage2" in said.splitlines()[-1]


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_an_example_says_how_it_is_run(path: Path) -> None:
    assert f"python examples/{path.relative_to(EXAMPLES)}" in path.read_text()
