"""Several networks, one budget: `Arbiter` runs two or more sessions in a frame; see docs/arbiter.md."""

from edgekit.runtime.arbiter.arbiter import Arbiter, Share
from edgekit.runtime.arbiter.shared import SharedResult

__all__ = ["Arbiter", "Share", "SharedResult"]
