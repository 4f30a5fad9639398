"""`edgekit push`: to a shell that stands for ssh, and to a real sshd on loopback where there is one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import cli
from edgekit.bundle import read_bundle, write_bundle
from tests.toy_graphs import stereo_files, stereo_manifest, write_stereo

SECONDS = 20.0  # for one push with its verify


@pytest.fixture
def toy(tmp_path: Path) -> str:
    """The toy stereo network."""
    return write_stereo(str(tmp_path / "toy.edgekit")).path


@pytest.fixture
def shell(tmp_path: Path) -> str:
    """What a robot's ssh does, on this machine: run the command in a shell."""
    return script(tmp_path / "ssh", 'shift\nexec sh -c "$*"')


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


def push(bundle: str, ssh: str, to: Path, *options: str) -> int:
    return cli.main(
        ["push", "robot", bundle, "--ssh", ssh, "--to", str(to), "--python", sys.executable, *options]
    )


def test_one_command_brings_a_bundle_there_and_verifies_it(
    toy: str, shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "robot" / "toy.edgekit"
    begun = time.perf_counter()
    assert push(toy, shell, there) == 0
    assert time.perf_counter() - begun < SECONDS
    assert "Every answer is right." in capfd.readouterr().out
    assert read_bundle(there, check="hash").manifest == read_bundle(toy).manifest
    assert os.listdir(there.parent) == ["toy.edgekit"]
    assert push(toy, shell, there) == 0
    assert "0.0 MB sent" in capfd.readouterr().out


def test_a_push_that_was_cut_goes_on_where_it_was(
    toy: str, shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "robot" / "toy.edgekit"
    cutting = script(
        tmp_path / "cut",
        'shift\ncase "$*" in *" receive "*) head -c 60000 | sh -c "$*"; exit 255;; *) exec sh -c "$*";; esac',
    )
    assert push(toy, cutting, there) == 2
    said = capfd.readouterr().err
    assert "the connection was cut after" in said
    assert "goes on there" in said
    assert not there.exists()
    assert push(toy, shell, there, "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["there_bytes"] > 50000 and document["verify"]["ok"]
    read_bundle(there, check="hash")


def test_what_was_built_and_measured_there_survives_a_new_bundle_and_what_is_the_same_is_not_sent(
    toy: str, shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "toy-there.edgekit"
    assert push(toy, shell, there) == 0
    (there / "engines" / "tx2").mkdir(parents=True)
    (there / "engines" / "tx2" / "some.plan").write_bytes(b"plan")
    files = stereo_files()
    write_bundle(toy, stereo_manifest(files)._replace(options={"new": 1}), files, overwrite=True)
    capfd.readouterr()
    assert push(toy, shell, there, "--json") == 0
    assert json.loads(capfd.readouterr().out)["sent_bytes"] < 10000  # the manifest
    assert (there / "engines" / "tx2" / "some.plan").read_bytes() == b"plan"
    assert dict(read_bundle(there, check="hash").manifest.options) == {"new": 1}


def test_a_push_that_was_stopped_at_its_last_step_loses_no_engine_and_leaves_nothing_else(
    toy: str, shell: str, tmp_path: Path
) -> None:
    there = tmp_path / "robot" / "toy.edgekit"
    assert push(toy, shell, there) == 0
    (there / "engines" / "tx2").mkdir(parents=True)
    (there / "engines" / "tx2" / "some.plan").write_bytes(b"plan")
    files = stereo_files()
    write_bundle(toy, stereo_manifest(files)._replace(options={"new": 1}), files, overwrite=True)
    unfinished = script(
        tmp_path / "cut", 'shift\ncase "$*" in *" finish "*) exit 255;; *) exec sh -c "$*";; esac'
    )
    assert push(toy, unfinished, there) == 2
    partial = there.with_name("toy.edgekit.partial")
    # As when the power went while the engines were copied, and an older version had brought a file that this one has not.
    (partial / "engines" / "tx2").mkdir(parents=True)
    (partial / "engines" / "tx2" / "some.plan").write_bytes(b"pl")
    (partial / "stages" / "stage9.plain.onnx.part").write_bytes(b"old")
    assert push(toy, shell, there) == 0
    assert (there / "engines" / "tx2" / "some.plan").read_bytes() == b"plan"
    assert not (there / "stages" / "stage9.plain.onnx.part").exists()
    assert dict(read_bundle(there, check="hash").manifest.options) == {"new": 1}
    # As when it went between the two renames: the old folder is aside, the new one has not got its name.
    there.rename(partial)
    assert push(toy, shell, there) == 0
    assert (there / "engines" / "tx2" / "some.plan").read_bytes() == b"plan"
    assert os.listdir(there.parent) == ["toy.edgekit"]


@pytest.mark.parametrize("step", ["state", "receive", "finish"])
@pytest.mark.parametrize("end", ["kill -9 $$", "exit 3"])
def test_a_connection_that_ends_without_a_word_is_a_failure_at_every_step(
    toy: str, shell: str, tmp_path: Path, step: str, end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "robot" / "toy.edgekit"
    ends = script(tmp_path / "cut", f'shift\ncase "$*" in *" {step} "*) {end};; *) exec sh -c "$*";; esac')
    assert push(toy, ends, there) == 2
    assert "answers something else" not in capfd.readouterr().err and not there.exists()
    assert push(toy, shell, there) == 0


def test_the_profile_comes_back(
    toy: str, shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert push(toy, shell, tmp_path / "there", "--bench", "--json") == 0
    (path,) = json.loads(capfd.readouterr().out)["profiles"]
    assert Path(path).parent == Path(toy) / "profiles"
    assert json.loads(Path(path).read_text())["stages"].keys() == {"stage1", "stage2", "stage3", "stage4"}


def test_a_damaged_bundle_is_not_sent(
    toy: str, shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (Path(toy) / "stages" / "stage1.plain.onnx").write_bytes(b"x" * 238)
    assert push(toy, shell, tmp_path / "there") == 2
    assert "copy the bundle again" in capfd.readouterr().err


def test_the_robot_comes_before_the_bundle(toy: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", toy, "robot"]) == 2
    assert "the robot comes first" in capfd.readouterr().err


def test_a_failing_check_there_is_the_exit_code(
    toy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = script(tmp_path / "ssh", 'shift\ncase "$*" in *" verify"*) exit 1;; *) exec sh -c "$*";; esac')
    assert push(toy, failing, tmp_path / "there") == 1
    assert "verify failed on robot" in capfd.readouterr().err


def test_a_python_that_is_not_there_is_named(
    toy: str, shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["push", "robot", toy, "--ssh", shell, "--to", str(tmp_path / "there"), "--python", "python9"]
    assert cli.main(options) == 2
    assert "python9" in capfd.readouterr().err


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_refused_connection_is_one_sentence(toy: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (
        cli.main(["push", "127.0.0.1", toy, "--ssh", f"ssh -o BatchMode=yes -o ConnectTimeout=3 -p {port}"])
        == 2
    )
    said = capfd.readouterr().err.strip()
    assert said.startswith("edgekit: ssh to 127.0.0.1 failed: ") and "refused" in said and "\n" not in said


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[str]:
    """The ssh command for an sshd of our own on loopback."""
    sshd = os.environ.get("EDGEKIT_SSHD") or shutil.which("sshd") or "/usr/sbin/sshd"
    keygen = shutil.which("ssh-keygen")
    if not os.path.exists(sshd) or keygen is None:
        pytest.skip("sshd or ssh-keygen is not installed (apt install openssh-server)")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n",
        encoding="ascii",
    )
    server = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(tmp_path / "config")], stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(50):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if server.poll() is not None:
                pytest.skip(f"sshd does not start here: {server.stderr.read() if server.stderr else ''}")
            time.sleep(0.1)
        yield f"ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i {tmp_path}/user -p {port}"
    finally:
        server.terminate()
        server.wait()


def test_a_real_sshd_on_loopback(
    toy: str, loopback: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "with space" / "toy.edgekit"
    begun = time.perf_counter()
    options = ["push", "127.0.0.1", toy, "--ssh", loopback, "--to", str(there), "--python", sys.executable]
    assert cli.main(options) == 0
    assert time.perf_counter() - begun < SECONDS
    assert "Every answer is right." in capfd.readouterr().out
    read_bundle(there, check="hash")
