"""What a run of the scheduler's benchmark has measured so far, so that one that was broken off goes on where it was."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scheduler_live
from benchmarks.neighbour import Missing
from benchmarks.scheduler_live import LiveCell
from edgekit.runtime.simulation.recording import write_recording

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "commit"  # beside what was measured, since a run that goes on may go on with another edgekit


class Desk:
    """Keeps every part in a file of its own, and begins no new one when its time is up.

    Attributes:
        left_out: names of the parts that were not begun for that.
        commits: of edgekit, by the parts that were measured with it.
    """

    def __init__(self, folder: Path, resume: bool, until: float) -> None:
        """``folder`` for the files; with ``resume``, those that are there count; ``until`` is an instant of `time.monotonic`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.left_out: list[str] = []
        self.commits: dict[str, str] = {}
        self._folder = folder
        self._resume = resume
        self._until = until

    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._until

    def kept(self, name: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """What was measured under ``name`` before, else what is ``measured`` now; None if there is no time for it."""
        path = self._folder / f"{name.replace(' ', '-')}.json"
        if not (self._resume and path.exists()):
            if self.over():
                self.left_out.append(name)
                return None
            print(f"measuring: {name}", file=sys.stderr)
            path.write_text(json.dumps({**measured(), COMMIT: _commit()}, indent=1) + "\n")
        found: dict[str, Any] = json.loads(path.read_text())
        self.commits[name] = found.pop(COMMIT, "unknown")
        return found

    def cell(
        self,
        bundle: Path,
        condition: str,
        overrun: str,
        priority: str,
        budget_ms: float,
        frames: int,
        known: Sequence[float] | None,
        threads: int,
    ) -> LiveCell | None:
        """A live cell, with its recording beside it; None without the time or the neighbour for it."""
        name = file_name(condition, overrun, priority, budget_ms, frames)

        def measured() -> dict[str, Any]:
            cell, recording = scheduler_live.measure(
                bundle, threads, condition, overrun, priority, budget_ms, frames, known
            )
            write_recording(str(self._folder / f"{name}.jsonl"), recording)
            return cell.to_json()

        try:
            found = self.kept(name, measured)
        except Missing as missing:
            print(missing, file=sys.stderr)
            return None
        return None if found is None else LiveCell.from_json(found)


def by_commit(commits: Mapping[str, str]) -> dict[str, list[str]]:
    """What was measured at each commit, given its names as `Desk` keeps them: live conditions with their overrun and priority, and kinds of the other parts."""
    found: dict[str, list[str]] = {}
    for name, commit in commits.items():
        kind = re.sub(r"(-[0-9][0-9.]*)+$|(?<=^simulated)-.*|(?<=^floor)-.*", "", name)
        kinds = found.setdefault(commit, [])
        if kind not in kinds:
            kinds.append(kind)
    return found


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def file_name(condition: str, overrun: str, priority: str, budget_ms: float, frames: int) -> str:
    """Under which a live cell and its recording are kept."""
    return f"{condition}-{overrun}-{priority}-{budget_ms:g}-{frames}".replace(" ", "-")
