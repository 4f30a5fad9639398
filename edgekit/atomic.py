"""Files and directories that appear whole or not at all, whatever interrupts the writer, and are read only if they are files."""

import errno
import os
import shutil
import stat
import sys
import time
from typing import Callable, Mapping, Optional

if sys.platform != "win32":
    import fcntl

# A sibling younger than this may belong to a writer that has not locked it yet; an older, unlocked one was left by a kill.
GRACE_SECONDS = 60.0


def read_file(path: str) -> bytes:
    """The content of the file at ``path``. A pipe there would never end, a device might: neither is opened.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # of a directory the system itself says what it is
        raise OSError(errno.EINVAL, "is no regular file", path)
    with open(path, "rb") as file:
        return file.read()


def write_file(path: str, data: bytes) -> None:
    """Replace the file at ``path`` in one step.

    Raises:
        OSError: it cannot be written, under the name that was asked for; what was there stays.
    """
    partial = _sibling(path, "partial")
    try:
        _write(partial, data)
        os.replace(partial, path)
    except BaseException as error:
        if os.path.lexists(partial):
            os.unlink(partial)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from error
        raise
    _sync_directory(os.path.dirname(path) or ".")


def write_directory(path: str, files: Mapping[str, bytes], replace: bool) -> None:
    """Create the directory ``path`` with ``files`` (relative path to content) in one step.

    With ``replace``, a directory that is there is set aside, and put back if anything fails.

    Raises:
        FileExistsError: something is there, and ``replace`` is false.
        OSError: it cannot be written; nothing of it stays.
    """
    partial = _sibling(path, "partial")
    os.mkdir(partial)
    lock = _lock(partial)
    try:
        directories = {partial}
        for name, data in files.items():
            place = os.path.join(partial, *name.split("/"))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            directories.add(os.path.dirname(place))
            _write(place, data)
        for directory in directories:
            _sync_directory(directory)
        _move_in(partial, path, replace)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _sync_directory(os.path.dirname(path) or ".")


def clean(path: str) -> None:
    """Remove what killed writers of ``path`` left beside it, and put back a directory that one had just set aside."""
    parent, name = os.path.split(path)
    for entry in _entries(parent or "."):
        sibling = os.path.join(parent, entry)
        if not entry.startswith(f".{name}.") or not _abandoned(sibling):
            continue
        if entry.endswith(".replaced") and not os.path.lexists(path):
            os.rename(sibling, path)
        elif entry.endswith((".replaced", ".partial")):
            shutil.rmtree(sibling, ignore_errors=True)


def _move_in(partial: str, path: str, replace: bool) -> None:
    # rename() silently replaces an empty directory, so ask first; one that appears after the question and is not empty
    # still makes it fail.
    if not os.path.lexists(path):
        os.rename(partial, path)
        return
    if not replace:
        raise FileExistsError(path)
    aside = _sibling(path, "replaced")
    try:
        os.rename(path, aside)
        os.rename(partial, path)
    except BaseException:
        if os.path.lexists(aside) and not os.path.lexists(path):
            os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sibling(path: str, ending: str) -> str:
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{name}.{os.urandom(6).hex()}.{ending}")


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: str) -> None:
    _with_descriptor(path, os.fsync)


def _with_descriptor(path: str, use: Callable[[int], object]) -> None:
    # Directories cannot be opened on Windows, and some file systems do not sync them: the rename itself still holds.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        use(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _lock(path: str) -> Optional[int]:
    """Hold ``path`` as long as this process lives; None where the system or the file system has no such locks."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _abandoned(path: str) -> bool:
    try:
        if time.time() - os.stat(path).st_mtime < GRACE_SECONDS:
            return False
        lock = _lock(path)
    except OSError:
        return False
    if lock is None:
        return False
    os.close(lock)
    return True


def _entries(directory: str) -> "list[str]":
    try:
        return os.listdir(directory)
    except OSError:
        return []
