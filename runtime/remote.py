"""Another machine, by the system's own ssh: commands, and bundles that go on arriving where a cut connection left off."""

import json
import os
import shlex
import subprocess
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError
from edgekit.runtime import receiver

SSH_FAILED = 255  # ssh's own exit code: everything else is the command's
# Never ask for a password in the middle of a script, and do not wait for a robot that is switched off.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
CHUNK = 1 << 18


class Sent(NamedTuple):
    """What a transfer did: bytes sent, and bytes that were there already."""

    sent: int
    there: int


class Remote:
    """``user@host``, with the Python to use there."""

    def __init__(self, host: str, ssh: Sequence[str] = SSH, python: str = "python3") -> None:
        self.host = host
        self._ssh = list(ssh)
        self._python = python

    def verb(self, folder: str, verb: Sequence[str]) -> int:
        """Run a verb of the bundle in ``folder`` there, its output on ours; its exit code.

        Raises:
            EdgekitError: ssh failed.
        """
        command = f"{self._python} {_quoted(folder)} {' '.join(shlex.quote(word) for word in verb)}"
        return self._checked(subprocess.call(self._ssh + [self.host, command]), "")

    def answer(self, folder: str, verb: Sequence[str]) -> Dict[str, object]:
        """What a verb prints with ``--json``.

        Raises:
            EdgekitError: ssh failed, or it prints something else.
        """
        text = self._run(
            f"{self._python} {_quoted(folder)} {' '.join(shlex.quote(word) for word in verb)} --json",
            "",
            True,
        )
        return self._document(text)

    def send(self, bundle: Bundle, folder: str, progress: Callable[[int], None] = lambda done: None) -> Sent:
        """Bring ``bundle`` to ``folder`` there; what has arrived before is not sent again.

        Raises:
            EdgekitError: ssh failed, the connection was cut, or the disk there is full.
        """
        there = self._document(self._run(self._program("state", folder), ""))
        files, parts = there["files"], there["parts"]
        assert isinstance(files, dict) and isinstance(parts, dict)
        manifest = os.path.join(bundle.path, "manifest.json")
        names = {name: entry.sha256 for name, entry in bundle.manifest.files.items()}
        names["manifest.json"] = receiver.digest(manifest)
        if all(files.get(name) == [digest, True] for name, digest in names.items()):
            return Sent(0, sum(os.path.getsize(_local(bundle, name)) for name in names))
        heads: List[Dict[str, object]] = []
        sent = kept = 0
        for name, digest in names.items():
            size = os.path.getsize(_local(bundle, name))
            found = files.get(name)
            if found == [digest, False]:
                kept += size
                continue
            keep = found == [digest, True]
            offset = 0 if keep else min(int(parts.get(name, 0)), size)
            heads.append({"name": name, "bytes": size, "sha256": digest, "offset": offset, "keep": keep})
            sent += 0 if keep else size - offset
            kept += size if keep else offset
        self._stream(bundle, folder, heads, names, sent, progress)
        self._run(self._program("finish", folder), "")
        return Sent(sent, kept)

    def profiles(self, folder: str) -> Dict[str, str]:
        """Every profile that was measured there, by its file's name.

        Raises:
            EdgekitError: ssh failed.
        """
        found = self._document(self._run(self._program("profiles", folder), ""))
        return {str(name): str(text) for name, text in found.items()}

    def _stream(
        self,
        bundle: Bundle,
        folder: str,
        heads: Sequence[Dict[str, object]],
        names: Iterable[str],
        total: int,
        progress: Callable[[int], None],
    ) -> None:
        process = subprocess.Popen(
            self._ssh + [self.host, self._program("receive", folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        done, cut = 0, False
        try:
            for head in heads:
                process.stdin.write((json.dumps(head) + "\n").encode("utf-8"))
                if head["keep"]:
                    continue
                with open(_local(bundle, str(head["name"])), "rb") as file:
                    file.seek(int(str(head["offset"])))
                    for block in iter(lambda: file.read(CHUNK), b""):
                        process.stdin.write(block)
                        done += len(block)
                        progress(done)
            process.stdin.write((json.dumps({"done": True, "names": list(names)}) + "\n").encode("utf-8"))
        except BrokenPipeError:
            cut = True
        _, said = (
            process.communicate() if not cut else (None, process.stderr.read() if process.stderr else b"")
        )
        code = process.wait()
        if code or cut:
            self._checked(code if code else SSH_FAILED, said.decode("utf-8", "replace"), done, total)

    def _program(self, mode: str, folder: str) -> str:
        with open(receiver.__file__, encoding="utf-8") as file:
            source = file.read()
        return f"{self._python} -c {shlex.quote(source)} {mode} {_quoted(folder)}"

    def _run(self, command: str, given: str, may_fail: bool = False) -> str:
        process = subprocess.Popen(
            self._ssh + [self.host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, said = process.communicate(given.encode("utf-8"))
        if process.returncode == SSH_FAILED or process.returncode < 0 or not may_fail:
            self._checked(process.returncode, said.decode("utf-8", "replace") or "it says nothing")
        return out.decode("utf-8", "replace")

    def _document(self, text: str) -> Dict[str, object]:
        try:
            found = json.loads(text)
            assert isinstance(found, dict)
            return found
        except ValueError:
            raise EdgekitError(
                f"{self.host} answers something else than was asked for: {text.strip()[:100]!r}"
            ) from None

    def _checked(self, code: int, said: str, done: Optional[int] = None, total: int = 0) -> int:
        lines = [line for line in said.strip().splitlines() if line]
        last = lines[-1] if lines else "it says nothing"
        if code and done is not None:
            raise EdgekitError(
                f"{self.host}: the connection was cut after {done / 1e6:.1f} of {total / 1e6:.1f} MB ({last}); run the same"
                " command again, it goes on there"
            )
        if code == SSH_FAILED or code < 0:
            why = last if code > 0 else f"it was ended by signal {-code}"
            raise EdgekitError(
                f"ssh to {self.host} failed: {why}; run the same command again, it goes on there"
            )
        if code and said:
            raise EdgekitError(f"{self.host}: {last}")
        return code


def _local(bundle: Bundle, name: str) -> str:
    return os.path.join(bundle.path, *name.split("/"))


def _quoted(folder: str) -> str:
    """Quoted, but for a leading ``~/``, which is the other shell's to resolve."""
    return "~/" + shlex.quote(folder[2:]) if folder.startswith("~/") else shlex.quote(folder)
