"""What a training leaves behind and shows while it runs: its log file, and a line of progress every few seconds."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.models.training.loop import Steps


class TrainingLog:
    """JSON lines; lines of steps after the one resumed from are dropped, so that no step stands there twice."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    if int(json.loads(line)["step"]) <= step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # the last line of a killed run may be cut short
        path.write_text("".join(line + "\n" for line in kept))

    def write(self, entry: Mapping[str, object]) -> None:
        """Append one line; a disk that is full does not stop the training."""
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            print(f"warning: {self._path} could not be written ({error}); training goes on", file=sys.stderr)


class Progress:
    """A line every few seconds: pace, what the run says of its latest steps, time to go."""

    def __init__(self, run: Steps[Any]) -> None:
        self._run = run
        self._step, self._done = run.step, run.progress
        self._time = time.monotonic()
        self.pace = 0.0

    def report(self, every: float = 15.0) -> str | None:
        """The line to show now; None if the last one is less than ``every`` s old and the training goes on."""
        run, now = self._run, time.monotonic()
        if now - self._time < every and run.progress < 1:
            return None
        since = max(now - self._time, 1e-9)
        self.pace = (run.step - self._step) / since
        left = (1 - run.progress) / max((run.progress - self._done) / since, 1e-9)
        self._step, self._done, self._time = run.step, run.progress, now
        return (
            f"step {run.step} ({100 * run.progress:.1f} %)  {self.pace:.2f} steps/s  {run.shown()}  "
            f"ETA {int(left // 3600)}:{int(left % 3600 // 60):02d}:{int(left % 60):02d}"
        )
