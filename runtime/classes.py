"""What a classifier's answer says to people: the likeliest classes, and what they are called."""

from typing import List, Optional, Tuple

import numpy as np

from edgekit.bundle import Manifest

TOP = 5


def top_classes(probabilities: np.ndarray) -> List[Tuple[int, float]]:
    """The most likely of (classes,) and their probabilities."""
    return [(int(index), float(probabilities[index])) for index in np.argsort(-probabilities)[:TOP]]


def class_name(manifest: Manifest, index: int) -> Optional[str]:
    """What the network's option ``classes``, a list of texts, calls a class; None where it does not."""
    names = manifest.options.get("classes")
    known = isinstance(names, (list, tuple)) and index < len(names)
    return str(names[index]) if known else None  # type: ignore[index]
