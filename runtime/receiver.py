"""The other end of `edgekit push`: sent as text to a device that may have nothing but Python 3.6, and run there.

It must stand alone: the standard library, and nothing of edgekit. Files arrive in ``FOLDER.partial``, each under a name that
ends in ``.part`` until its hash is right; the folder gets its own name when all are there. Whatever has arrived when a
connection is cut stays, and is not sent again.
"""

import hashlib
import json
import os
import shutil
import sys
from typing import Dict, List, Tuple

CHUNK = 1 << 20
MADE_HERE = ("engines", "profiles")


def digest(path: str) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(CHUNK), b""):
            found.update(block)
    return found.hexdigest()


def place(folder: str, name: str) -> str:
    """Where a file of the bundle belongs; names that lead out of the folder are refused."""
    parts = name.split("/")
    if not all(parts) or ".." in parts or os.path.isabs(name):
        sys.exit("refused: " + name)
    return os.path.join(folder, *parts)


def state(folder: str) -> None:
    """Print what is there: files with their hashes, and how much has arrived of unfinished ones."""
    files: Dict[str, Tuple[str, bool]] = {}
    parts: Dict[str, int] = {}
    for root in (folder, folder + ".partial"):
        for directory, _, names in os.walk(root):
            for name in names:
                path = os.path.join(directory, name)
                inside = os.path.relpath(path, root).replace(os.sep, "/")
                if inside.split("/")[0] in MADE_HERE:
                    continue
                if name.endswith(".part"):
                    parts[inside[: -len(".part")]] = os.path.getsize(path)
                elif root == folder:
                    files[inside] = (digest(path), True)
                else:
                    files[inside] = (digest(path), False)
    print(json.dumps({"files": files, "parts": parts, "python": sys.version.split()[0]}))


def receive(folder: str) -> None:
    """Read files from standard input: a line of JSON, then its bytes; the last line says that all were sent."""
    partial = folder + ".partial"
    stream = sys.stdin.buffer
    while True:
        line = stream.readline()
        if not line.endswith(b"\n"):
            sys.exit("cut")
        head = json.loads(line.decode("utf-8"))
        if head.get("done"):
            return clean(partial, head["names"])
        path = place(partial, head["name"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if head.get("keep"):  # the file of the bundle that is there already
            shutil.copyfile(place(folder, head["name"]), path + ".part")
        else:
            with open(path + ".part", "ab") as file:
                file.truncate(head["offset"])
                left = head["bytes"] - head["offset"]
                while left:
                    block = stream.read(min(CHUNK, left))
                    if not block:
                        sys.exit("cut")
                    file.write(block)
                    left -= len(block)
                file.flush()
                os.fsync(file.fileno())
        if digest(path + ".part") != head["sha256"]:
            os.unlink(path + ".part")
            sys.exit("damaged on the way: " + head["name"])
        os.rename(path + ".part", path)


def clean(partial: str, names: List[str]) -> None:
    """Remove what an earlier push of another version had begun to bring."""
    for directory, _, found in os.walk(partial):
        for name in found:
            inside = os.path.relpath(os.path.join(directory, name), partial).replace(os.sep, "/")
            if inside not in names and inside.split("/")[0] not in MADE_HERE:
                os.unlink(os.path.join(directory, name))


def finish(folder: str) -> None:
    """Give the folder its name; engines and profiles of the bundle that was there stay."""
    partial, old = folder + ".partial", folder + ".old"
    if os.path.isdir(folder):
        shutil.rmtree(old, ignore_errors=True)
        for made in MADE_HERE:
            if os.path.isdir(os.path.join(folder, made)):
                # What was copied before the power went may be cut off.
                shutil.rmtree(os.path.join(partial, made), ignore_errors=True)
                shutil.copytree(os.path.join(folder, made), os.path.join(partial, made))
        os.rename(folder, old)
    os.rename(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def profiles(folder: str) -> None:
    """Print every measured profile."""
    measured = os.path.join(folder, "profiles")
    found = {}
    for name in sorted(os.listdir(measured)) if os.path.isdir(measured) else []:
        with open(os.path.join(measured, name), encoding="utf-8") as file:
            found[name] = file.read()
    print(json.dumps(found))


if __name__ == "__main__":
    {"state": state, "receive": receive, "finish": finish, "profiles": profiles}[sys.argv[1]](
        os.path.expanduser(sys.argv[2])
    )
