"""What trainings reached whose weights are not shipped, because they are there to be compared with: their cards alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TRAINED = Path(__file__).resolve().parent / "trained"


def card(name: str) -> dict[str, Any]:
    """The card that ``edgekit train`` wrote; its accuracies were measured at the end of that training.

    Raises:
        FileNotFoundError: there is no such training.
    """
    document: dict[str, Any] = json.loads((TRAINED / f"{name}.json").read_text(encoding="utf-8"))
    return document
