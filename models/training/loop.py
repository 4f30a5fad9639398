"""What every training's loop does around its steps: begin or resume, show progress, save, and stop gently."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from edgekit.errors import CheckpointError, OptionError
from edgekit.models.training.log import Progress, TrainingLog

CHECKPOINT = "training.safetensors"
LOG = "log.jsonl"
Work = TypeVar("Work", contravariant=True)


class Steps(Protocol[Work]):
    """A training's state, as far as the loop knows it.

    Attributes:
        step: steps done.
        progress: the share of the training that is done, 0 to 1.
    """

    step: int

    @property
    def progress(self) -> float: ...

    def advance(self, work: Work) -> None:
        """One optimiser step."""

    def summary(self) -> dict[str, object]:
        """What a log line says about the latest steps."""

    def shown(self) -> str:
        """What a line of progress says about the latest steps."""

    def save(self, path: Path) -> None:
        """Write the whole state."""

    def restore(self, path: Path) -> None:
        """Go on from the state in a file."""


def begin(run: Steps[Work], out: Path, resume: bool) -> TrainingLog:
    """Restore the run if it is to be resumed, and open the log in ``out``.

    Raises:
        OptionError: ``out`` holds a training already and ``resume`` is off, or there is nothing to resume.
        CheckpointError: the checkpoint cannot be read.
    """
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise OptionError(
            f"{out} holds a training already; add --resume to go on with it, or name another --out"
        )
    if resume:
        if not checkpoint.exists():
            raise OptionError(
                f"{checkpoint} does not exist, so there is nothing to resume; leave --resume out"
            )
        run.restore(checkpoint)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{out} cannot be created: {error}") from error
    return TrainingLog(out / LOG, run.step)


def carry_out(
    run: Steps[Work],
    works: Iterable[Work],
    out: Path,
    log: TrainingLog,
    save_every: int,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Advance the run through ``works``, saving every ``save_every`` steps, at the end and where it is interrupted.

    ``between`` is called after every step, for measurements. A checkpoint that cannot be written on the way is reported, and
    the training goes on, since stopping would lose more.

    Raises:
        CheckpointError: the last checkpoint cannot be written; the one before it is untouched.
        KeyboardInterrupt: after the current state was saved.
    """
    checkpoint = out / CHECKPOINT
    _stop_gently_on_sigterm()
    progress = Progress(run)
    try:
        for work in works:
            run.advance(work)
            line = progress.report()
            if line:
                log.write({**run.summary(), "steps_per_s": progress.pace})
                print(line, file=sys.stderr, flush=True)
            if run.step % save_every == 0:
                try:
                    run.save(checkpoint)
                except CheckpointError as error:
                    print(f"warning: {error}; training goes on", file=sys.stderr, flush=True)
            between()
    except KeyboardInterrupt:
        run.save(checkpoint)
        print(f"stopped at step {run.step}; go on with --resume --out {out}", file=sys.stderr, flush=True)
        raise
    run.save(checkpoint)


def _stop_gently_on_sigterm() -> None:
    """A polite kill saves as Ctrl-C does; a background job never gets Ctrl-C."""
    if threading.current_thread() is threading.main_thread():

        def stop(_signal: int, _frame: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
