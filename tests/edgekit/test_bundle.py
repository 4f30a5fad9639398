"""A bundle is there whole or not at all, and is read only if it is what was written."""

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest

from edgekit import atomic, manifest_reading
from edgekit.bundle import Bundle, Manifest, read_bundle, runtime_archive, write_bundle
from edgekit.canonical import self_hash
from edgekit.errors import BundleError, OptionError
from edgekit.kernels import compiling
from edgekit.manifest import SCHEMA
from tests.toy_graphs import stereo_files, stereo_manifest, write_stereo


@pytest.fixture
def files() -> Dict[str, bytes]:
    return stereo_files()


@pytest.fixture
def manifest(files: Dict[str, bytes]) -> Manifest:
    return stereo_manifest(files)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_stereo(str(tmp_path / "toy.edgekit"))


def names(directory: Path) -> List[str]:
    return sorted(os.listdir(str(directory)))


def rewrite(bundle: Bundle, change: Callable[[Dict[str, Any]], object]) -> None:
    """Change the manifest as somebody would who also fixes its hash."""
    path = Path(bundle.path, "manifest.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    document["sha256"] = self_hash(document)
    path.write_text(json.dumps(document), encoding="utf-8")


# --- What is written is what is read ----------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]) -> None:
    written = write_bundle(tmp_path / "toy.edgekit", manifest, files)
    read = read_bundle(str(tmp_path / "toy.edgekit"), check="hash")
    assert read == written
    assert read.manifest == manifest._replace(files=read.manifest.files)
    for name, data in files.items():
        assert read.read_bytes(name) == data
    assert names(tmp_path) == ["toy.edgekit"]


def test_every_file_but_the_manifest_is_listed_with_its_hash(bundle: Bundle) -> None:
    found = {
        path.relative_to(bundle.path).as_posix(): path
        for path in Path(bundle.path).rglob("*")
        if path.is_file()
    }
    assert set(found) == set(bundle.manifest.files) | {"manifest.json"}
    for name, entry in bundle.manifest.files.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == entry.sha256


def test_two_bundles_of_the_same_things_are_equal_byte_by_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_stereo(str(tmp_path / name))
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            other = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert path.read_bytes() == other.read_bytes(), path


def test_the_archive_holds_the_front_door_and_the_runtime_and_nothing_else() -> None:
    import io

    with zipfile.ZipFile(io.BytesIO(runtime_archive())) as archive:
        inside = archive.namelist()
        assert archive.testzip() is None
    assert {"edgekit/__init__.py", "edgekit/cli.py", "edgekit/runtime/session.py"} < set(inside)
    assert "edgekit/runtime/backends/onnxruntime.py" in inside
    assert not [name for name in inside if name.startswith(("edgekit/models", "edgekit/export"))]
    assert [name for name in inside if not name.endswith(".py")] == sorted(
        f"edgekit/kernels/{name}" for name in compiling.SOURCES
    )


def test_a_bundle_runs_where_nothing_is_installed(bundle: Bundle, tmp_path: Path) -> None:
    moved = tmp_path / "robot" / "x y.edgekit"
    shutil.copytree(bundle.path, str(moved))
    script = (
        "import sys; sys.path.insert(0, sys.argv[1] + '/runtime.zip'); import edgekit;"
        "session = edgekit.load(sys.argv[1]); print(edgekit.__file__, session.infer(**session.golden()[0]).stage)"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    printed = subprocess.check_output(
        [sys.executable, "-c", script, str(moved)],
        cwd=str(tmp_path),
        env=environment,
        universal_newlines=True,
    )
    assert printed.split() == [
        str(moved / "runtime.zip/edgekit/__init__.py").split()[0],
        *printed.split()[1:],
    ]
    assert printed.strip().endswith("stage4")
    assert "runtime.zip" in printed


def test_a_damaged_archive_is_named_before_anything_is_imported_from_it(bundle: Bundle) -> None:
    path = Path(bundle.path, "runtime.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    process = subprocess.Popen(
        [sys.executable, bundle.path, "inspect"], stderr=subprocess.PIPE, universal_newlines=True
    )
    _, said = process.communicate()
    assert process.returncode == 2
    assert "runtime.zip" in said
    assert "Traceback" not in said


# --- Damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["stages/stage1.plain.onnx", "golden/golden.npz", "runtime.zip", "__main__.py"]
)
def test_a_flipped_byte_is_found_when_the_file_is_read(bundle: Bundle, name: str) -> None:
    path = Path(bundle.path, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    opened = read_bundle(bundle.path)
    with pytest.raises(BundleError, match="damaged"):
        opened.read_bytes(name)
    with pytest.raises(BundleError, match=path.name):
        read_bundle(bundle.path, check="hash")


def test_every_flipped_byte_of_the_manifest_is_found(bundle: Bundle) -> None:
    path = Path(bundle.path, "manifest.json")
    data = path.read_bytes()
    for position in range(0, len(data), 97):
        flipped = bytearray(data)
        flipped[position] ^= 0x01
        path.write_bytes(bytes(flipped))
        try:
            read = read_bundle(bundle.path).manifest
        except BundleError as error:
            assert "manifest.json" in str(error)
        else:  # only white space may change without being noticed
            assert read == bundle.manifest


@pytest.mark.parametrize("check", ["size", "hash"])
@pytest.mark.parametrize("name", ["stages/stage2.swapped.onnx", "golden/golden.npz", "runtime.zip"])
def test_a_missing_or_shortened_file_is_found_at_once(bundle: Bundle, name: str, check: str) -> None:
    path = Path(bundle.path, name)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(BundleError, match=path.name):
        read_bundle(bundle.path, check=check)
    path.unlink()
    with pytest.raises(BundleError, match=path.name):
        read_bundle(bundle.path, check=check)


def test_a_place_without_a_bundle_is_told_apart_from_an_incomplete_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_bundle(tmp_path / "none.edgekit")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="is no directory"):
        read_bundle(tmp_path / "file")
    with pytest.raises(BundleError, match="incomplete"):
        read_bundle(tmp_path)
    with pytest.raises(OptionError, match="'size' or 'hash'"):
        read_bundle(tmp_path, check="all")


def test_a_newer_schema_is_refused_with_who_reads_it(bundle: Bundle) -> None:
    def change(document: Dict[str, Any]) -> None:
        document.update(schema=SCHEMA + 1, provenance={"edgekit": "3.1.4"}, stages={"something": "else"})

    rewrite(bundle, change)
    with pytest.raises(BundleError, match=r"schema 2.*edgekit 3\.1\.4 or newer reads it"):
        read_bundle(bundle.path)


def test_an_older_schema_is_migrated_step_by_step(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def age(document: Dict[str, Any]) -> None:
        document["schema"] = SCHEMA - 1
        document["network"] = document.pop("name")

    rewrite(bundle, age)
    with pytest.raises(BundleError, match="schema 0 is unknown"):
        read_bundle(bundle.path)
    monkeypatch.setitem(
        manifest_reading.MIGRATIONS,
        SCHEMA - 1,
        lambda old: dict({key: value for key, value in old.items() if key != "network"}, name=old["network"]),
    )
    assert read_bundle(bundle.path).manifest == bundle.manifest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["stages"][1].pop("macs"), r"stages\[1\]: has no 'macs'"),
        (lambda d: d["stages"][0].update(macs="many"), r"stages\[0\]: macs: should be a whole number"),
        (lambda d: d["stages"][2].update(inputs=["nothing"]), "stage3 reads nothing, which nothing before it writes"),
        (lambda d: d["stages"][0].update(exit="x"), "none of its outputs"),
        (lambda d: d["stages"][1].update(defaults={"onnxruntime": "x"}), "it has plain, swapped"),
        (lambda d: d["stages"][1].update(name="stage1"), "two stages have one name"),
        (lambda d: d["stages"].clear(), "needs inputs and stages"),
        (lambda d: d["exits"].update(stage3={"threshold": None, "accuracy": None}), "exits names 'stage3'"),
        (lambda d: d["inputs"][0]["preprocessing"].update(fit="stretch"), "no preprocessing"),
        (lambda d: d["files"].pop("golden/golden.npz"), "used but not listed"),
        (lambda d: d.update(golden="../golden.npz"), "not a path inside a bundle"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong_is_refused_with_the_place(
    bundle: Bundle, change: Callable[[Dict[str, Any]], object], said: str
) -> None:
    rewrite(bundle, change)
    with pytest.raises(BundleError, match=said):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    "text",
    ["[" * 100000, '{"a":' * 5000, '{"schema": 1, "sha256": null, "x": 1e999}', '{"schema": 1, "x": NaN}'],
)
def test_json_that_no_bundle_holds_is_refused_in_a_sentence(bundle: Bundle, text: str) -> None:
    (Path(bundle.path) / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest.json: (damaged|changed).*export the bundle again"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "C:/x",
        "a\\..\\b",
        "",
        "a//b",
        "./a",
        "stages/..",
        "a\0b",
    ],
)
def test_a_path_that_could_leave_the_bundle_is_refused(
    bundle: Bundle, tmp_path: Path, manifest: Manifest, files: Dict[str, bytes], path: str
) -> None:
    rewrite(bundle, lambda document: document["files"].update({path: {"sha256": "0", "bytes": 0}}))
    with pytest.raises(BundleError, match="not a path inside a bundle"):
        read_bundle(bundle.path)
    with pytest.raises(BundleError, match="not a path inside a bundle"):
        write_bundle(tmp_path / "new.edgekit", manifest, dict(files, **{path: b""}))
    assert names(tmp_path) == ["toy.edgekit"]


# --- Writing: whole or not at all -------------------------------------------------------------------------------------


def test_what_exists_is_not_overwritten_unless_that_is_allowed(
    bundle: Bundle, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    with pytest.raises(BundleError, match="exists"):
        write_bundle(bundle.path, manifest._replace(name="new"), files)
    assert read_bundle(bundle.path).manifest.name == "toy"
    Path(bundle.path, "profiles").mkdir()
    write_bundle(bundle.path, manifest._replace(name="new"), files, overwrite=True)
    assert read_bundle(bundle.path, check="hash").manifest.name == "new"
    assert not Path(bundle.path, "profiles").exists()
    assert names(Path(bundle.path).parent) == ["toy.edgekit"]


def test_what_is_no_bundle_is_never_overwritten(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        for overwrite in (False, True):
            with pytest.raises(BundleError, match=r"is not a bundle.*choose another name"):
                write_bundle(tmp_path / name, manifest, files, overwrite=overwrite)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_a_missing_parent_is_named(tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]) -> None:
    with pytest.raises(BundleError, match=r"the directory .*nowhere does not exist"):
        write_bundle(tmp_path / "nowhere" / "x.edgekit", manifest, files)


@pytest.mark.parametrize(
    "reserved", ["manifest.json", "__main__.py", "runtime.zip", "engines/a.plan", "profiles/a.json"]
)
def test_names_that_edgekit_uses_itself_are_refused(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes], reserved: str
) -> None:
    with pytest.raises(BundleError, match="uses itself"):
        write_bundle(tmp_path / "x.edgekit", manifest, dict(files, **{reserved: b""}))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"), MemoryError()]
)
def test_whatever_interrupts_the_writing_leaves_what_was_there(
    tmp_path: Path,
    manifest: Manifest,
    files: Dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    overwrite: bool,
) -> None:
    place = tmp_path / "x.edgekit"
    if overwrite:
        write_bundle(place, manifest._replace(name="old"), files)
    calls = len(files) + 3  # files, and some of the directories, before the renames
    real, expected = os.fsync, BundleError if isinstance(error, OSError) else type(error)
    for fail_at in range(calls):
        seen = []

        def failing(descriptor: int) -> None:
            seen.append(descriptor)  # noqa: B023
            if len(seen) > fail_at:  # noqa: B023
                raise error
            real(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(expected) as raised:
            write_bundle(place, manifest, files, overwrite=overwrite)
        monkeypatch.undo()
        if isinstance(error, OSError):
            assert "free" in str(raised.value)
        assert names(tmp_path) == (["x.edgekit"] if overwrite else [])
        if overwrite:
            assert read_bundle(place, check="hash").manifest.name == "old"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_swap_that_fails_halfway_puts_the_old_bundle_back(
    bundle: Bundle,
    manifest: Manifest,
    files: Dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    real = os.rename

    def failing(source: str, target: str) -> None:
        if source.endswith(".partial"):
            raise error
        real(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises((BundleError, KeyboardInterrupt)):
        write_bundle(bundle.path, manifest._replace(name="new"), files, overwrite=True)
    monkeypatch.undo()
    assert read_bundle(bundle.path, check="hash").manifest.name == "toy"
    assert names(Path(bundle.path).parent) == ["toy.edgekit"]


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    script = (
        "import sys; from tests.toy_graphs import write_stereo\n"
        "from edgekit.errors import BundleError\n"
        "try: write_stereo(sys.argv[1])\n"
        "except BundleError as error: print(error)"
    )
    root = str(Path(__file__).resolve().parent.parent.parent)
    printed = subprocess.check_output(
        [sys.executable, "-c", script, str(tmp_path / "x.edgekit")],
        cwd=root, env=dict(os.environ, PYTHONPATH=root, PYTHONDONTWRITEBYTECODE="1"), preexec_fn=limited, universal_newlines=True,
    )  # fmt: skip
    assert "cannot be written: file too large" in printed
    assert names(tmp_path) == []


def test_a_directory_that_cannot_be_written_is_named(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, *rest: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refused)  # as root, the tests may write anywhere
    with pytest.raises(BundleError, match="permission denied"):
        write_bundle(tmp_path / "x.edgekit", manifest, files)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    script = (
        "import os, signal, sys; from edgekit import atomic; from tests.toy_graphs import write_stereo\n"
        "atomic._move_in = lambda *rest: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_stereo(sys.argv[1])"
    )
    root = str(Path(__file__).resolve().parent.parent.parent)
    environment = dict(os.environ, PYTHONPATH=root, PYTHONDONTWRITEBYTECODE="1")
    place = tmp_path / "x.edgekit"
    assert (
        subprocess.call([sys.executable, "-c", script, str(place)], cwd=root, env=environment)
        == -signal.SIGKILL
    )
    left = [name for name in names(tmp_path) if name.endswith(".partial")]
    assert len(left) == 1
    write_bundle(place, manifest, files)
    assert left[0] in names(tmp_path)  # so young that its writer may still live
    os.utime(str(tmp_path / left[0]), (0, 0))
    write_bundle(place, manifest, files, overwrite=True)
    assert names(tmp_path) == ["x.edgekit"]


def test_a_sibling_that_a_living_writer_holds_is_left_alone(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    held = tmp_path / ".x.edgekit.abc.partial"
    held.mkdir()
    os.utime(str(held), (0, 0))
    lock = atomic._lock(str(held))
    assert lock is not None
    write_bundle(tmp_path / "x.edgekit", manifest, files)
    assert held.is_dir()
    os.close(lock)
    write_bundle(tmp_path / "x.edgekit", manifest, files, overwrite=True)
    assert not held.exists()


def test_a_bundle_that_a_killed_writer_had_set_aside_comes_back(
    bundle: Bundle, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    aside = Path(bundle.path).parent / ".toy.edgekit.abc.replaced"
    os.rename(bundle.path, str(aside))
    os.utime(str(aside), (0, 0))
    with pytest.raises(BundleError, match="exists"):
        write_bundle(bundle.path, manifest, files)
    assert read_bundle(bundle.path, check="hash").manifest.name == "toy"


def test_a_manifest_with_something_that_json_cannot_hold_is_refused(
    tmp_path: Path, manifest: Manifest, files: Dict[str, bytes]
) -> None:
    for bad in (float("nan"), np.float32(1), {1, 2}):
        with pytest.raises(BundleError, match="no JSON value"):
            write_bundle(tmp_path / "x.edgekit", manifest._replace(options={"bad": bad}), files)
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
@pytest.mark.parametrize("name", ["manifest.json", "runtime.zip", "stages/stage1.plain.onnx"])
def test_a_pipe_in_a_file_s_place_is_refused_and_not_waited_for(bundle: Bundle, name: str) -> None:
    place = os.path.join(bundle.path, *name.split("/"))
    os.unlink(place)
    os.mkfifo(place)
    for check in ("size", "hash"):
        with pytest.raises(BundleError, match=r"no regular file|missing"):
            read_bundle(bundle.path, check=check)
    with pytest.raises(BundleError, match="no regular file"):
        bundle.read_bytes(name) if name != "manifest.json" else read_bundle(bundle.path)
    if name != "stages/stage1.plain.onnx":
        process = subprocess.run([sys.executable, bundle.path, "inspect"], stderr=subprocess.PIPE, timeout=60)
        assert process.returncode == 2 and b"copy the bundle again" in process.stderr


@pytest.mark.parametrize("path", [3, None, [], object()])
def test_what_is_no_path_is_said_to_be_none(path: Any) -> None:
    with pytest.raises(OptionError, match="is not the path of a bundle"):
        read_bundle(path)
