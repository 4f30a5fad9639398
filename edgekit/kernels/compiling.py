"""The kernels as a library for this very processor: built by the device's own C compiler, once, and kept in the user's cache."""

import contextlib
import ctypes
import hashlib
import logging
import os
import pkgutil
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
from typing import Dict, List, NamedTuple, Optional, Tuple

from edgekit import atomic
from edgekit.errors import BackendError

# The first one is compiled, and reads the others.
SOURCES = (
    "kernels.c", "vectors.h", "program.h", "convolutions.h", "maps.h", "stereo.h", "winograd.h", "squares.h",
)  # fmt: skip
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-shared", "-fPIC", "-pthread")
# Before anything else is tried, what makes the compiler use all that this processor has.
TUNED = {"x86_64": "-march=native", "aarch64": "-mcpu=native"}
SECONDS = 300.0  # that a compiler may take: a TX2 in its slowest mode is far quicker
INSTALL = 'sudo apt install gcc libc6-dev, or take backend="onnxruntime"'
# What tells one processor from another in /proc/cpuinfo, on x86 and on ARM.
TELLING = re.compile(
    r"^(model name|flags|Features|CPU (?:implementer|part|variant|revision))\s*:.*$", re.MULTILINE
)

log = logging.getLogger("edgekit")


class Compiler(NamedTuple):
    """A C compiler: its path with what $CC adds to it, and what it says of itself."""

    command: Tuple[str, ...]
    banner: str

    @property
    def name(self) -> str:
        """Such as ``gcc 12.2.0``."""
        said = self.banner.lower()
        kinds = [
            kind for kind, word in (("clang", "clang"), ("gcc", "free software foundation")) if word in said
        ]
        kind = kinds[0] if kinds else os.path.basename(self.command[0])
        versions = re.findall(r"(?<![\w.-])\d+(?:\.\d+)+", self.banner.splitlines()[0] if self.banner else "")
        return " ".join([kind, *versions[-1:]])


class Library(NamedTuple):
    """The kernels as they were loaded, and the flags that they were built with."""

    library: ctypes.CDLL
    flags: Tuple[str, ...]


def compiler_there() -> bool:
    """Whether there seems to be a C compiler, without asking it."""
    return bool(_commands())


def find_compiler() -> Compiler:
    """The C compiler to use: $CC, else the first of `COMPILERS` that answers.

    Raises:
        BackendError: there is none.
    """
    for command in _commands():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = _run([*command, "--version"], None)
            if answer.returncode == 0:
                return Compiler(command, answer.stdout.strip())
    wanted = os.environ.get("CC")
    what = (
        f"$CC, {wanted}, is no C compiler that answers" if wanted else f"there is no {', '.join(COMPILERS)}"
    )
    raise BackendError(f"native: {what}; its kernels are built on the device: {INSTALL}")


def sources() -> Dict[str, bytes]:
    """The kernels' files by name, also out of a bundle's runtime.zip.

    Raises:
        BackendError: one is not in this installation.
    """
    found = {}
    for name in SOURCES:
        try:
            data = pkgutil.get_data("edgekit.kernels", name)
        except OSError:
            data = None
        if not data:
            raise BackendError(
                f"native: this installation lacks {name}; install edgekit again, or export the bundle anew"
            )
        found[name] = data
    return found


def version() -> str:
    """The beginning of the hash of the kernels' files."""
    return _hashed().hexdigest()[:8]


def is_built(compiler: Compiler) -> bool:
    """Whether the kernels are in the cache."""
    folder = cache_folder(make=False)
    return folder is not None and any(
        _is_ours(os.path.join(folder, _name(compiler, flags))) for flags in _choices()
    )


def library(compiler: Compiler) -> Library:
    """The kernels of this process: from the cache, else built now.

    Raises:
        BackendError: they cannot be built, or not be loaded.
    """
    with _guard:
        for flags in _choices():
            name = _name(compiler, flags)
            found = _loaded.get(name) or _from_cache(name)
            if found is not None:
                _loaded[name] = found
                return Library(found, flags)
        log.warning("building native's kernels with %s, once for this device and user", compiler.name)
        said = ""
        for flags in _choices():
            with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
                built = os.path.join(folder, "kernels.so")
                failed = _compile(compiler, flags, folder, built)
                if failed is None:
                    name = _name(compiler, flags)
                    _loaded[name] = _keep(name, built)
                    return Library(_loaded[name], flags)
                said = said or failed
        raise BackendError(f"native: {compiler.name} cannot build its kernels: {said}; {INSTALL}")


def cache_folder(make: bool = True) -> Optional[str]:
    """Where kernels are kept: $XDG_CACHE_HOME/edgekit, else ~/.cache/edgekit.

    None where it cannot be made, or others may write into it: whoever can change a library runs his code in this process.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(base, "edgekit")
    if not os.path.isabs(base) or not os.path.isdir(os.path.dirname(base)):
        return None
    try:
        if make:
            os.makedirs(base, 0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
    except OSError:
        return None
    return folder if _is_ours(folder, stat.S_IFDIR) else None


def _is_ours(path: str, kind: int = stat.S_IFREG) -> bool:
    """Whether this is such a file, the user's own, which nobody else may write."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _from_cache(name: str) -> Optional[ctypes.CDLL]:
    folder = cache_folder(make=False)
    if folder is None or not _is_ours(os.path.join(folder, name)):
        return None
    try:
        return _open(os.path.join(folder, name))
    except OSError:  # damaged, or on a disk from which nothing may run: build it again
        return None


def _keep(name: str, built: str) -> ctypes.CDLL:
    """Put what was built into the cache if that can be done, and load it from there or from where it is.

    Raises:
        BackendError: it cannot be loaded.
    """
    folder = cache_folder()
    if folder is not None:
        try:
            kept = os.path.join(folder, name)
            atomic.write_file(kept, atomic.read_file(built))
            return _open(kept)
        except OSError as error:  # the disk is full, read-only, or nothing on it may run
            log.warning(
                "native's kernels cannot be kept in %s (%s): they are built in every process", folder, error
            )
    else:
        log.warning(
            "native's kernels cannot be kept, there is no cache of this user alone: they are built in every process"
        )
    try:
        return _open(built)
    except OSError as error:
        raise BackendError(
            f"native: its kernels were built but cannot be loaded ({error}); name a folder on a disk from which programs may run"
            " in $XDG_CACHE_HOME or $TMPDIR"
        ) from error


def _compile(compiler: Compiler, flags: Tuple[str, ...], folder: str, built: str) -> Optional[str]:
    """Build the kernels; what the compiler says where it cannot."""
    for name, text in sources().items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(text)
    try:
        answer = _run([*compiler.command, *flags, SOURCES[0], "-o", built], folder)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if answer.returncode == 0 and os.path.isfile(built):
        return None
    lines = answer.stdout.strip().splitlines() or [f"it ended with {answer.returncode}"]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines)[0].strip()[:300]


def _run(command: List[str], folder: Optional[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
        env=dict(os.environ, LC_ALL="C"), encoding="utf-8", errors="replace",
    )  # fmt: skip


def _commands() -> List[Tuple[str, ...]]:
    """The compilers that are there, as commands."""
    wanted = os.environ.get("CC")
    try:
        asked = [shlex.split(wanted)] if wanted else [[name] for name in COMPILERS]
    except ValueError:  # quotes that do not end
        return []
    places = [(shutil.which(words[0]), words) for words in asked if words]
    return [(place, *words[1:]) for place, words in places if place is not None]


def _choices() -> List[Tuple[str, ...]]:
    tuned = TUNED.get(platform.machine())
    return ([(*FLAGS, tuned)] if tuned else []) + [FLAGS]


def _name(compiler: Compiler, flags: Tuple[str, ...]) -> str:
    """The library's file: another one for other kernels, another compiler, other flags or another processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            processor = {match.group(1): match.group() for match in TELLING.finditer(file.read())}
    except OSError:
        processor = {}
    telling = [
        *compiler.command,
        os.path.realpath(compiler.command[0]),
        compiler.banner,
        *flags,
        *sorted(processor.values()),
    ]
    digest = _hashed()
    for each in telling:
        digest.update(b"\0" + each.encode("utf-8", "surrogateescape"))
    return f"native-{digest.hexdigest()[:24]}.so"


def _hashed() -> "hashlib._Hash":
    return hashlib.sha256(b"\0".join(sources().values()))


def _open(path: str) -> ctypes.CDLL:
    """Load the library and say what its functions take.

    Raises:
        OSError: it is none, or another one.
    """
    found = ctypes.CDLL(path)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, given, arguments in (
        ("edgekit_machine", pointer, (number, number, pointer)),
        ("edgekit_machine_free", None, (pointer,)),
        ("edgekit_arena", pointer, (ctypes.c_long,)),
        ("edgekit_arena_free", None, (pointer,)),
        ("edgekit_move", None, (pointer, pointer, number, number, number, number, pointer, number)),
        ("edgekit_program", pointer, (pointer, pointer, number, pointer, pointer, number)),
        ("edgekit_program_free", None, (pointer,)),
        ("edgekit_run", number, (pointer,) * 6),
    ):
        try:
            function = getattr(found, name)
        except AttributeError as error:
            raise OSError(str(error)) from error
        function.restype, function.argtypes = given, arguments
    return found


_loaded: Dict[str, ctypes.CDLL] = {}
_guard = threading.Lock()
