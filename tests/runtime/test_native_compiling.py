"""How the kernels are built on a device: by which compiler, where they are kept, and what is said when they cannot be."""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Iterator, List

import pytest

from edgekit.bundle import runtime_archive
from edgekit.errors import BackendError
from edgekit.kernels import Kernels, compiling

FLAGS = compiling.FLAGS
QUICK = tuple("-O0" if flag == "-O3" else flag for flag in FLAGS)  # which takes a third of the time


@pytest.fixture(autouse=True)
def cache(needs_compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache in which nothing is yet, and a process that has loaded nothing."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiling, "_loaded", {})
    monkeypatch.setattr(compiling, "FLAGS", QUICK)
    yield tmp_path / "home" / ".cache" / "edgekit"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """What compilers were asked to build, one entry each time."""
    asked: List[str] = []
    compile_ = compiling._compile

    def counted(compiler, flags, folder, place):
        asked.append(" ".join(flags))
        return compile_(compiler, flags, folder, place)

    monkeypatch.setattr(compiling, "_compile", counted)
    return asked


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process."""
    monkeypatch.setattr(compiling, "_loaded", {})


def test_they_are_built_once_for_this_user_alone(
    cache: Path, built: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not compiling.is_built(compiling.find_compiler())
    Kernels(1)
    Kernels(1)
    assert compiling.is_built(compiling.find_compiler())
    forget(monkeypatch)
    Kernels(1)
    assert len(built) == 1 and len(os.listdir(str(cache))) == 1
    assert os.stat(str(cache)).st_mode & 0o777 == 0o700


def test_other_flags_another_compiler_or_other_kernels_are_built_anew(
    cache: Path, built: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Kernels(1)
    monkeypatch.setenv("CC", "cc -DANOTHER")
    Kernels(1)
    sources = compiling.sources()
    sources["vectors.h"] += b"\n/* another */\n"
    monkeypatch.setattr(compiling, "sources", lambda: sources)
    Kernels(1)
    assert len(built) == 3 and len(os.listdir(str(cache))) == 3


@pytest.mark.parametrize("place", ["", "/nonexistent/cc", "a compiler that is not there", "'unclosed"])
def test_without_a_compiler_it_says_what_to_install(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if place:
        monkeypatch.setenv("CC", place)
    else:
        monkeypatch.setenv("PATH", "/nonexistent")
    assert not compiling.compiler_there()
    with pytest.raises(
        BackendError, match=r"apt install gcc libc6-dev, or take backend=.onnxruntime"
    ) as said:
        Kernels(1)
    assert "\n" not in str(said.value)


def test_what_the_compiler_says_first_is_told(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    broken = {"kernels.c": b"int edgekit_run(void) {\n  return broken;\n}\n"}
    monkeypatch.setattr(compiling, "sources", lambda: broken)
    with pytest.raises(
        BackendError, match=r"cannot build its kernels: kernels.c:2:\d+: error: .*broken.*apt"
    ) as said:
        Kernels(1)
    assert "\n" not in str(said.value)
    assert not cache.exists() or not os.listdir(str(cache))


@pytest.mark.skipif(platform.machine() not in compiling.TUNED, reason="needs a processor that is tuned for")
def test_a_compiler_that_does_not_know_this_processor_builds_for_any(
    built: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GCC does on processors that are younger than it."""
    tuned = compiling.TUNED[platform.machine()]
    script = tmp_path / "old-cc"
    script.write_text(
        f'#!/bin/sh\nfor a in "$@"; do [ "$a" = {tuned} ] && echo "error: bad value" && exit 1; done\nexec cc "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    assert tuned not in Kernels(1).flags
    forget(monkeypatch)
    assert tuned not in Kernels(1).flags
    assert [tuned in one for one in built] == [True, False]


def test_a_library_that_is_no_library_is_built_again(
    cache: Path, built: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = compiling.find_compiler()
    cache.mkdir(parents=True, mode=0o700)
    for flags in compiling._choices():
        (cache / compiling._name(compiler, flags)).write_bytes(b"damaged")
    Kernels(1)
    forget(monkeypatch)
    Kernels(1)
    assert len(built) == 1


def works_without_being_kept(
    built: List[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for times in (1, 2):
        Kernels(1)
        forget(monkeypatch)
        assert len(built) == times
    assert "cannot be kept" in caplog.text


def test_a_home_that_cannot_be_written_costs_only_time(
    cache: Path, built: List[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(compiling.atomic, "write_file", refuse)
    works_without_being_kept(built, monkeypatch, caplog)
    assert os.listdir(str(cache)) == []


def test_a_home_that_is_not_there_costs_only_time(
    built: List[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent/home")
    works_without_being_kept(built, monkeypatch, caplog)


@pytest.mark.parametrize("how", ["of another user", "open to others", "a file"])
def test_a_cache_that_others_may_write_into_is_not_used(
    how: str, cache: Path, built: List[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Kernels(1)
    forget(monkeypatch)
    del built[:]
    if how == "of another user":
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
    elif how == "open to others":
        cache.chmod(0o777)
    else:
        shutil.rmtree(str(cache))
        cache.write_bytes(b"")
    works_without_being_kept(built, monkeypatch, caplog)


def test_a_library_that_others_may_write_is_not_loaded(
    cache: Path, built: List[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Kernels(1)
    forget(monkeypatch)
    (library,) = cache.iterdir()
    library.chmod(0o666)
    Kernels(1)
    assert len(built) == 2


def test_several_processes_at_once_build_them_and_leave_one_file(cache: Path) -> None:
    script = "from edgekit.kernels import Kernels; print(Kernels(2).version)"
    environment = dict(os.environ, PYTHONPATH=os.getcwd())
    running = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0] and len(said) == 1
    assert len(os.listdir(str(cache))) == 1


def test_they_are_built_from_a_bundles_archive_too(tmp_path: Path) -> None:
    archive = tmp_path / "runtime.zip"
    archive.write_bytes(runtime_archive())
    inside = zipfile.ZipFile(str(archive)).namelist()
    assert all(f"edgekit/kernels/{name}" in inside for name in compiling.SOURCES)
    script = "import sys; sys.path.insert(0, sys.argv[1]); import edgekit.kernels as k; print(k.__file__, k.Kernels(1).version)"
    process = subprocess.run(
        [sys.executable, "-c", script, str(archive)], cwd="/", env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        stdout=subprocess.PIPE, universal_newlines=True,
    )  # fmt: skip
    place, version = process.stdout.split(" ", 1)
    assert place.startswith(str(archive)) and version.strip() == Kernels(1).version


def test_the_compiler_has_nothing_to_say_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "FLAGS", FLAGS)
    monkeypatch.setenv("CC", "cc -Wall -Wextra -Werror")
    Kernels(1)


@pytest.mark.parametrize(
    "banner, name",
    [
        (
            "cc (Debian 12.2.0-14+deb12u1) 12.2.0\nThis is free software; ... Free Software Foundation, Inc.",
            "gcc 12.2.0",
        ),
        (
            "gcc (Ubuntu/Linaro 7.5.0-3ubuntu1~18.04) 7.5.0\nCopyright (C) 2017 Free Software Foundation",
            "gcc 7.5.0",
        ),
        ("Ubuntu clang version 14.0.0-1ubuntu1.1\nTarget: aarch64-unknown-linux-gnu", "clang 14.0.0"),
        ("tcc version 0.9.27 (x86_64 Linux)", "cc 0.9.27"),
        ("", "cc"),
    ],
)
def test_compilers_are_called_by_their_names(banner: str, name: str) -> None:
    assert compiling.Compiler(("/usr/bin/cc",), banner).name == name
