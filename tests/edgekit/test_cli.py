"""The command line as a user meets it: real processes, exit codes, one sentence for every mistake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import edgekit
from edgekit import cli, completion
from edgekit.errors import EdgekitError, InputError, ParityError


def run(*arguments, python=sys.executable, **options):
    return subprocess.run([python, "-m", "edgekit", *arguments], capture_output=True, text=True, **options)


@pytest.fixture
def verb(monkeypatch):
    """Put a verb with the given body into the table, so that what it raises can be chosen."""
    import types

    def install(body):
        module = types.ModuleType("edgekit_test_verb")
        module.add_arguments = lambda parser: parser.add_argument("--json", action="store_true")
        module.run = body
        monkeypatch.setitem(sys.modules, "edgekit_test_verb", module)
        monkeypatch.setattr(cli, "VERBS", (cli.Verb("try", "edgekit_test_verb", "try it"),))

    return install


def raising(error):
    def body(_):
        raise error

    return body


def test_help_lists_every_verb_in_under_three_tenths_of_a_second():
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        process = run("--help")
        times.append(time.perf_counter() - begin)
    assert process.returncode == 0 and process.stderr == ""
    for entry in cli.VERBS:
        assert re.search(rf"^  {entry.name} +{entry.summary}$", process.stdout, re.MULTILINE)
    assert min(times) < 0.3


def test_help_with_a_verb_is_that_verbs():
    assert run("help", "doctor").stdout == run("doctor", "--help").stdout
    assert "there is no verb docter (did you mean doctor?)" in run("help", "docter").stderr


def test_help_does_not_import_numpy_or_any_verb():
    code = "import sys; from edgekit.cli import main; main(['--help']); print([m for m in sys.modules if 'numpy' in m or 'verbs' in m])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == "[]"


def test_version_is_the_packages():
    assert run("--version").stdout == f"edgekit {edgekit.__version__}\n"


def test_without_a_verb_the_help_is_shown_and_the_call_was_wrong():
    process = run()
    assert process.returncode == 2 and process.stdout == "" and "usage: edgekit VERB" in process.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["exprot"], "there is no verb exprot (did you mean export?)"),
        (["zzz"], "there is no verb zzz; see `edgekit --help`"),
        (["--versoin"], "there is no option --versoin (did you mean --version?)"),
        (["doctor", "--jsno"], "there is no option --jsno (did you mean --json?)"),
        (["doctor", "--js"], "there is no option --js (did you mean --json?)"),
        (["inspect"], "the following arguments are required: bundle; see `edgekit inspect --help`"),
        (["doctor", "a", "b"], "unrecognized arguments: b"),
        (["completion", "fish"], "argument shell: invalid choice: 'fish'"),
        (["completion", "bahs"], "(did you mean bash?)"),
        (["inspect", "nowhere.edgekit"], "nowhere.edgekit does not exist"),
    ],
)
def test_a_mistyped_call_is_answered_in_one_sentence(arguments, sentence):
    process = run(*arguments)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith("edgekit: ") and sentence in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_with_json_a_mistake_is_a_json_document_too():
    process = run("inspect", "nowhere.edgekit", "--json")
    assert process.returncode == 2
    error = json.loads(process.stdout)["error"]
    assert error["type"] == "BundleError" and "does not exist" in error["message"]
    assert "does not exist" in process.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("the picture is grey"), 2),
        (ParityError("stage2 differs"), 1),
        (EdgekitError("no"), 2),
        (PermissionError(13, "Permission denied", "/somewhere"), 2),
        (MemoryError(), 2),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes."), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(verb, capsys, error, code):
    verb(raising(error))
    assert cli.main(["try"]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and re.fullmatch(r"edgekit: .+\n", printed.err)


def test_a_mistake_of_ours_is_not_hidden(verb):
    verb(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["try"])


def test_a_verbs_exit_code_is_the_commands(verb):
    verb(lambda args: 1)
    assert cli.main(["try"]) == 1


def test_a_missing_package_is_named_with_the_way_to_get_it(verb, monkeypatch, capsys):
    monkeypatch.setattr(cli, "VERBS", (cli.Verb("try", "no_such_package", "try it"),))
    assert cli.main(["try"]) == 2
    assert "needs the package no_such_package: pip install edgekit[export]" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "extra"), [("torch", "export"), ("onnx", "export"), ("cv2", "train")])
def test_a_package_that_a_verb_misses_on_its_way_is_named_too(verb, capsys, package, extra):
    verb(raising(ModuleNotFoundError(f"No module named {package!r}", name=package)))
    assert cli.main(["try"]) == 2
    assert f"needs the package {package}: pip install edgekit[{extra}]" in capsys.readouterr().err


def test_every_verb_is_in_its_document(repository):
    document = (repository / "docs" / "cli.md").read_text()
    for entry in cli.VERBS:
        assert re.search(rf"^\|[^|]*`{entry.name}`", document, re.M), (
            f"docs/cli.md has no line for {entry.name}"
        )


def test_a_reader_that_leaves_is_no_error():
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; time.sleep(0.5); from edgekit.cli import main; raise SystemExit(main(['--help']))",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == cli.DAMAGED_PIPE


def test_ctrl_c_ends_without_a_traceback():
    code = (
        "import sys, types, time\nfrom edgekit import cli\nm = types.ModuleType('waits')\n"
        "m.add_arguments = lambda parser: None\n"
        "def run(args):\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "m.run = run\nsys.modules['waits'] = m\ncli.VERBS = (cli.Verb('wait', 'waits', 'wait'),)\nsys.exit(cli.main(['wait']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and errors == "edgekit: interrupted\n"


def test_ctrl_c_that_an_import_turned_into_its_own_error_is_still_ctrl_c(verb, capsys):
    def interrupted_while_importing(args):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    verb(interrupted_while_importing)
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == "edgekit: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_inside_a_bundle_only_the_devices_verbs_are_offered(capsys, tmp_path):
    assert cli.main(["--help"], bundle=str(tmp_path)) == 0
    offered = re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert offered == [entry.name for entry in cli.VERBS if entry.bundle]
    assert cli.main(["export"], bundle=str(tmp_path)) == 2
    assert "there is no verb export" in capsys.readouterr().err


def test_inside_a_bundle_its_verbs_take_no_bundle(capsys, tmp_path):
    assert cli.main(["inspect"], bundle=str(tmp_path)) == 2
    assert str(tmp_path) in capsys.readouterr().err  # an empty directory is no bundle, and it was this one
    assert cli.main(["inspect", "another"], bundle=str(tmp_path)) == 2
    assert "unrecognized arguments: another" in capsys.readouterr().err


@pytest.fixture(scope="module")
def completed():
    """What bash would offer for the last of some words, with the script that `edgekit completion bash` prints."""
    script = run("completion", "bash").stdout
    return lambda words: offered(words, script)


def offered(words, script):
    listing = " ".join(f"'{word}'" for word in words)
    calling = f"""
        {script}
        COMP_WORDS=({listing}); COMP_CWORD={len(words) - 1}; _edgekit; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    process = subprocess.run(["bash", "-c", calling], capture_output=True, text=True)
    assert process.returncode == 0 and process.stderr == "", process.stderr
    return process.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash, which is not installed")
def test_bash_completes_verbs_options_and_choices(completed):
    assert completed(["edgekit", "in"]) == ["inspect"]
    assert "--json" in completed(["edgekit", "doctor", "--"])
    assert completed(["edgekit", "completion", ""]) == ["bash", "zsh"]
    assert completed(["edgekit", "export", "--model", "any"]) == ["anynet"]
    assert completed(["edgekit", "inspect", "x.edgekit", "--for", "jetson-t"]) == ["jetson-tx2"]
    assert "--init" in completed(["edgekit", "train", "anynet", "--"])
    assert completed(["edgekit", "inspect", "any"]) == []  # left to the shell, which completes file names


def test_zsh_runs_the_same_script_through_its_emulation():
    script = run("completion", "zsh").stdout
    assert "bashcompinit" in script and script.endswith(completion.script())


@pytest.mark.parametrize("version", ["3.6", "3.8"])
def test_a_jetsons_python_says_that_export_needs_another(version, interpreter, repository):
    process = run("export", python=interpreter(version), cwd=repository, env={**os.environ, "LC_ALL": "C"})
    assert process.returncode == 2
    assert "needs Python 3.10 or newer" in process.stderr and len(process.stderr.splitlines()) == 1
    assert (
        run(
            "--help", python=interpreter(version), cwd=repository, env={**os.environ, "LC_ALL": "C"}
        ).returncode
        == 0
    )


@pytest.mark.parametrize("arguments, listed", [(["models"], "anynet"), (["models", "oqa"], "oqa-b2-64.1")])
def test_the_networks_are_listed_without_torch(arguments, listed):
    code = "import sys; sys.modules['torch'] = None; from edgekit.cli import main; sys.exit(main({!r}))"
    process = subprocess.run(
        [sys.executable, "-c", code.format(arguments)], stdout=subprocess.PIPE, text=True
    )
    assert process.returncode == 0
    assert listed in process.stdout
