"""How long a decision takes under each Python that matters: this one, and the oldest that a device has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pythons() -> list[str]:
    """This interpreter, and a Python 3.6 that has numpy: the device suite's, or the one that the scripts find."""
    found = subprocess.run([str(ROOT / "scripts" / "find-python"), "3.6"], capture_output=True, text=True)
    candidates = [str(ROOT / ".venv36" / "bin" / "python"), found.stdout.strip()]
    for candidate in candidates:
        if (
            Path(candidate).is_file()
            and not subprocess.run([candidate, "-c", "import numpy"], capture_output=True).returncode
        ):
            return [sys.executable, candidate]
    print(
        "no Python 3.6 with numpy (`scripts/device-environment 3.6` makes one): decisions are timed here only",
        file=sys.stderr,
    )
    return [sys.executable]


def time_decisions(python: str) -> dict[str, object]:
    """What `benchmarks.decisions` measures under an interpreter."""
    command = [python, "-m", "benchmarks.decisions"]
    process = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, object] = json.loads(process.stdout)
    return measured
