"""`edgekit export` as a user types it: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit import cli
from edgekit.bundle import read_bundle
from edgekit.errors import OptionError
from edgekit.export.words import parse_config, parse_size


def _export(repository: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    toys = Path(__file__).with_name("toy_networks.py")
    (cwd / "toys.py").write_text(toys.read_text())  # a user's own module, where they call edgekit
    code = (
        f"import sys; sys.path.insert(0, {str(repository)!r}); from edgekit.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "export", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_it_prints_what_was_inferred_the_stages_and_the_next_command(
    repository: Path, tmp_path: Path
) -> None:
    done = _export(repository, tmp_path, "--model", "toys:build", "--config", "classes=4", "--size", "24x40")
    assert done.returncode == 0, done.stderr
    assert "toy (classification) for jetson" in done.stdout and "classes=4" in done.stdout
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "logits1" in lines["stage1"] and "plain*+" in lines["stage1"] and "parity" in done.stdout
    assert lines["next:"] == "next: edgekit bench build.edgekit"
    assert (tmp_path / "build.edgekit" / "manifest.json").is_file()


def test_json_is_one_document_with_the_same_facts(repository: Path, tmp_path: Path) -> None:
    done = _export(repository, tmp_path, "--model", "toys:build", "--out", "t.edgekit", "--json")
    document = json.loads(done.stdout)
    assert document["bundle"] == str(tmp_path / "t.edgekit")
    assert [stage["name"] for stage in document["manifest"]["stages"]] == ["stage1", "stage2"]
    assert all(row["passed"] for row in document["parity"]) and document["seconds"] > 0


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """The command in this process, which has torch already, in a folder with a user's own module."""
    shutil.copy(Path(__file__).with_name("toy_networks.py"), tmp_path / "toys.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield lambda *words: cli.main(["export", *words])
    sys.modules.pop("toys", None)


@pytest.mark.parametrize(
    "words",
    [
        ("--model", "toys:build", "--target", "toaster"),
        ("--model", "toys:build", "--size", "24"),
        ("--model", "toys:wrong", "--config", "kind=missing"),
        ("--model", "toys:build", "--config", "nonsense"),
        ("--model", "anynet", "--checkpoint", "missing.tar"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    called: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert called(*words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("edgekit: ")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["toys.py"]


def test_an_existing_bundle_is_replaced_only_by_force(
    called: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "toys:build", "--out", "t.edgekit", "--no-parity")
    assert called(*words) == 0
    assert called(*words) == 2 and "exists" in capsys.readouterr().err
    assert called(*words, "--force") == 0 and "parity was not checked" in capsys.readouterr().out


INTERRUPTED = """
import json, os, signal, sys
from edgekit import cli
from edgekit.export import verb

folder, at, passed = sys.argv[1], 0, 0
def interrupt(step, seconds):
    global passed
    passed += 1
    if passed == at:
        os.kill(os.getpid(), signal.SIGINT)

verb._say = interrupt
while passed >= at:  # else there was no such moment any more, and the export went through
    at, passed = at + 1, 0
    code = cli.main(["export", "--model", "tests.export.toy_networks:build", "--out", folder + "/x.edgekit", "--force"])
    print("ENDED", json.dumps([code, os.listdir(folder)]))
"""


def test_control_c_where_any_step_begins_or_ends_leaves_nothing_or_all_of_it(
    repository: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    ends = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    # Six steps; after the last one, which puts the whole bundle in its place, it is there.
    assert ends[:-2] == [[130, []]] * (len(ends) - 2) and len(ends) == 2 * 6 + 1
    assert ends[-2:] == [[130, ["x.edgekit"]], [0, ["x.edgekit"]]]
    read_bundle(tmp_path / "x.edgekit", check="hash")


def test_a_size_is_height_by_width() -> None:
    assert parse_size("384x1248") == (384, 1248) and parse_size(None) is None
    for text in ("384", "384x", "0x5", "384X1248", "-1x5", "384x1248x3", "3.5x4"):
        with pytest.raises(OptionError, match="384x1248"):
            parse_size(text)


def test_config_takes_names_with_json_values_and_files_of_them(tmp_path: Path) -> None:
    words = ["maxdisplist=[12,3,3]", "growth=8-16-32", "group_1x1=4", "bottleneck=true"]
    assert parse_config(words) == {
        "maxdisplist": [12, 3, 3],
        "growth": "8-16-32",
        "group_1x1": 4,
        "bottleneck": True,
    }
    (tmp_path / "c.json").write_text('{"nBlocks": 5}')
    assert parse_config([str(tmp_path / "c.json"), "base=4"]) == {"nBlocks": 5, "base": 4}
    with pytest.raises(OptionError, match="twice"):
        parse_config(["a=1", "a=2"])
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "bad.json").write_text("{")
    for word in (str(tmp_path / "list.json"), str(tmp_path / "bad.json"), "missing.json"):
        with pytest.raises(OptionError, match="JSON"):
            parse_config([word])


def test_targets_and_models_list_what_export_takes(repository: Path) -> None:
    def listed(verb: str) -> list[dict[str, object]]:
        command = [sys.executable, "-m", "edgekit", verb, "--json"]
        return json.loads(
            subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
        )  # type: ignore[no-any-return]

    targets = {target["name"]: target for target in listed("targets")}
    assert targets["jetson"]["tensorrt"] == "8.2" and targets["jetson"]["python"] == "3.6"
    assert targets["cpu"]["tensorrt"] is None and all(target["sources"] for target in targets.values())
    assert "anynet" in {model["name"] for model in listed("models")}
