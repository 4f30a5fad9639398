"""The trained weights that edgekit ships, and the cards that say what they are and how they came to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import CheckpointError

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Shipped:
    """One set of weights.

    Attributes:
        weights: the safetensors file.
        card: architecture, data, recipe, accuracies and licence, as JSON values.
    """

    weights: Path
    card: Mapping[str, object]

    def options(self) -> dict[str, object]:
        """What the weights alone do not tell of the architecture, for the family's builder."""
        options = self.card["options"]
        assert isinstance(options, dict)
        return dict(options)

    def classes(self) -> dict[str, object]:
        """What the classes are called, as an option of the bundle."""
        return {"classes": self.card["classes"]}

    def accuracies(self) -> dict[str, float]:
        """The share of test pictures that every exit classifies rightly, as far as the card tells."""
        known = self.card.get("accuracy")
        return (
            {str(name): float(share) for name, share in known.items()} if isinstance(known, Mapping) else {}
        )


def shipped(name: str) -> Shipped:
    """The weights that are shipped under this name, such as ``condensenet``.

    Raises:
        CheckpointError: there are none.
    """
    weights, card = WEIGHTS / f"{name}.safetensors", WEIGHTS / f"{name}.json"
    if not weights.is_file() or not card.is_file():
        raise CheckpointError(
            f"{name}: edgekit ships no weights of this name; give the file of a training with --checkpoint"
        )
    return Shipped(weights, json.loads(card.read_text(encoding="utf-8")))
