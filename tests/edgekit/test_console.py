"""A command's output where there is no locale, no terminal, or no standard output at all. Real processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

import pytest

from tests.toy_graphs import write_stereo


def _run(
    arguments: List[str], environment: Optional[Dict[str, str]] = None, shell: str = ""
) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable] + arguments
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh"] + command
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=120,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("tøy späce") / "tøy.edgekit")
    write_stereo(path)
    return path


@pytest.mark.parametrize(
    "encoding",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1:strict"}, {"LC_ALL": "C.UTF-8"}],
)
def test_names_that_the_locale_does_not_have_are_printed(bundle: str, encoding: Dict[str, str]) -> None:
    for verb in ("inspect", "verify"):
        process = _run([bundle, verb], encoding)
        assert (process.returncode, process.stderr) == (0, b"")
    missing = _run([bundle, "run", "--left", "niçht.png", "--right", "niçht.png"], encoding)
    assert missing.returncode == 2
    assert missing.stderr.startswith(b"edgekit: the picture ni") and missing.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_change_no_exit_code_and_make_no_traceback(bundle: str, closed: str) -> None:
    fine = _run([bundle, "inspect"], shell=closed)
    assert (fine.returncode, fine.stderr) == (0, b"")
    wrong = _run([str(Path(bundle)), "run", "--budget-ms", "0"], shell=closed)
    assert wrong.returncode == 2 and b"Traceback" not in wrong.stderr


def test_a_bundle_in_a_folder_whose_name_is_no_text_is_inspected(bundle: str, tmp_path: Path) -> None:
    folder = os.fsencode(str(tmp_path)) + b"/\xff\xfe"
    os.mkdir(folder)
    os.symlink(os.fsencode(bundle), folder + b"/x.edgekit")
    process = _run([os.fsdecode(folder + b"/x.edgekit"), "inspect"], {"LC_ALL": "C.UTF-8"})
    assert (process.returncode, process.stderr) == (0, b"")
