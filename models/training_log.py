"""What a training leaves behind and shows while it runs: its log file, and a line of progress every few seconds."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.models.training_run import Run


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
    """A line every few seconds: pace, loss, error of every exit, time to go."""

    def __init__(self, steps: int, start: int) -> None:
        self._steps = steps
        self._step = start
        self._time = time.monotonic()
        self.pace = 0.0

    def report(self, run: Run, every: float = 15.0) -> str | None:
        """The line to show now; None if the last one is less than ``every`` s old and the training goes on."""
        now = time.monotonic()
        if now - self._time < every and run.step < self._steps:
            return None
        self.pace = (run.step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = run.step, now
        left = (self._steps - run.step) / max(self.pace, 1e-9)
        summary = run.summary()
        errors = " ".join(f"{error:.2f}" for error in run.errors())
        return (
            f"step {run.step}/{self._steps}  {self.pace:.2f} steps/s  loss {summary['loss']:.3f}  EPE {errors}  "
            f"ETA {int(left // 3600)}:{int(left % 3600 // 60):02d}:{int(left % 60):02d}"
        )
