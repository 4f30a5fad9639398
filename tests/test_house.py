"""The rules of the house: who imports whom, what stays Python 3.6, how fast the front door opens, how large a room gets."""

import ast
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRONT_DOOR = sorted([*(ROOT / "edgekit").glob("*.py"), *(ROOT / "edgekit" / "kernels").glob("*.py")])
DEVICE_SIDE = sorted([*FRONT_DOOR, *(ROOT / "runtime").rglob("*.py")])
ROOMS = {
    "edgekit": FRONT_DOOR,
    **{room: sorted((ROOT / room).rglob("*.py")) for room in ("models", "export", "runtime", "benchmarks")},
}
EVERY_FILE = [path for files in ROOMS.values() for path in files]

# What each room may import of ours, at any depth. The front door reaches every room, but only when a verb is used.
SHARED_BY_ALL = {"edgekit", "edgekit.errors", "edgekit.disparity", "edgekit.archives"}
FORMAT = {
    "edgekit.bundle",
    "edgekit.manifest",
    "edgekit.atomic",
    "edgekit.packed",
    "edgekit.program",
    "edgekit.kernels",
}
MAY_IMPORT = {
    "models": {"edgekit.models"},
    "export": {"edgekit.export", "edgekit.models"} | FORMAT,
    "runtime": {"edgekit.runtime"} | FORMAT,
}
# Heavy packages that a device has not, or that would cost the front door its speed.
EXPORT_ONLY = {"torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "scipy", "matplotlib"}
# A family's architecture stays in one file that reads top to bottom.
WHOLE_ARCHITECTURES = {"models/anynet.py", "models/condensenet.py"}
MOST_LINES = 350


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that the statements below ``tree`` import, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "rooms are imported by their full name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from edgekit import bundle` imports edgekit.bundle; `from edgekit.bundle import Bundle` does not go deeper.
            yield from (names if node.module == "edgekit" else [str(node.module)])


def when_imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports as soon as it is imported itself: not inside functions, not for type checkers only."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imports(node)
        else:
            pending += ast.iter_child_nodes(node)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(one + ".") for one in allowed)


def ours(name: str) -> bool:
    return within(name, {"edgekit", "models", "export", "runtime"})


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    symbols = {"edgekit.__version__"}
    for path in ROOMS[room]:
        for name in imports(ast.parse(path.read_text())):
            fine = name in SHARED_BY_ALL | symbols or within(name, MAY_IMPORT[room])
            assert fine or not ours(name), f"{relative(path)} imports {name}"


def test_what_a_verb_is_made_of_does_not_know_the_verbs() -> None:
    for path in ROOMS["runtime"]:
        if not relative(path).startswith("runtime/verbs/"):
            for name in imports(ast.parse(path.read_text())):
                assert not within(name, {"edgekit.runtime.verbs"}), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", DEVICE_SIDE, ids=relative)
def test_device_side_never_imports_what_only_export_needs(path: Path) -> None:
    for name in imports(ast.parse(path.read_text())):
        assert not within(name, EXPORT_ONLY), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", ROOMS["edgekit"], ids=relative)
def test_the_front_door_opens_rooms_and_numpy_only_when_they_are_used(path: Path) -> None:
    for name in when_imported(ast.parse(path.read_text())):
        behind = {"edgekit.models", "edgekit.export", "edgekit.runtime"}
        assert not within(name, behind), f"{relative(path)} imports {name} before anybody asked for it"


@pytest.mark.parametrize("path", ROOMS["runtime"], ids=relative)
def test_a_backend_is_imported_only_when_it_is_used(path: Path) -> None:
    for name in when_imported(ast.parse(path.read_text())):
        assert not within(name, {"onnxruntime", "tensorrt", "tensorrt_rtx", "cv2", "PIL"}), (
            f"{relative(path)}: {name}"
        )


@pytest.mark.parametrize("path", DEVICE_SIDE, ids=relative)
def test_device_side_uses_nothing_younger_than_python_3_6(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 6))
    younger_modules = {
        "dataclasses",
        "contextvars",
        "importlib.resources",
        "importlib.metadata",
        "zoneinfo",
        "graphlib",
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            future = node.module == "__future__" and any(alias.name == "annotations" for alias in node.names)
            assert not future, (
                f"{relative(path)}:{node.lineno}: `from __future__ import annotations` is Python 3.7"
            )
        if isinstance(node, ast.NamedExpr):
            pytest.fail(f"{relative(path)}:{node.lineno}: := is Python 3.8")
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
            keywords = {keyword.arg for keyword in node.keywords}
            assert not keywords & {"capture_output", "text"}, (
                f"{relative(path)}:{node.lineno}: Python 3.7 keywords"
            )
    assert not younger_modules & set(imports(tree)), relative(path)


def test_every_device_side_file_compiles_under_a_real_python_3_6(interpreter: Callable[[str], str]) -> None:
    script = "import sys\nfor p in sys.argv[1:]:\n    compile(open(p, encoding='utf-8').read(), p, 'exec')\n"
    paths = [*DEVICE_SIDE, *sorted((ROOT / "tests" / "device").glob("*.py")), ROOT / "tests" / "conftest.py"]
    process = subprocess.run(
        [interpreter("3.6"), "-c", script, *map(str, paths)], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("path", EVERY_FILE, ids=relative)
def test_a_file_says_why_it_exists_and_stays_a_room(path: Path) -> None:
    source = path.read_text()
    assert ast.get_docstring(ast.parse(source)), f"{relative(path)} has no docstring"
    if relative(path) not in WHOLE_ARCHITECTURES:
        lines = source.count("\n")
        assert lines <= MOST_LINES, (
            f"{relative(path)} has {lines} lines: what would its second room be called?"
        )


@pytest.mark.parametrize("path", EVERY_FILE, ids=relative)
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert not re.fullmatch(r"(utils?|helpers?|common|misc|.*manager)\.py", path.name), relative(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bad = re.search(r"process_data|Manager$|Helper$|^do_it|^handle_stuff", node.name)
            assert not bad, f"{relative(path)}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", EVERY_FILE, ids=relative)
def test_nothing_is_left_undone(path: Path) -> None:
    unfinished = re.search(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError", path.read_text())
    assert unfinished is None, f"{relative(path)}: {unfinished and unfinished[0]}"


def fastest(*commands: list[str], rounds: int = 7) -> list[float]:
    """The least wall time in s of each command over ``rounds`` processes, taken in turns so that all see the same load."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(rounds):
        for command, taken in zip(commands, times, strict=True):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def test_the_front_door_opens_at_once() -> None:
    python = sys.executable
    bare, imported, helped = fastest(
        [python, "-c", "pass"], [python, "-c", "import edgekit"], [python, "-m", "edgekit", "--help"]
    )
    assert imported - bare < 0.1
    assert helped - bare < 0.3
