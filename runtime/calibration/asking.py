"""What it takes to ask an exit how sure it is, so that early exits are charged for it."""

from typing import Optional, Sequence

from edgekit.bundle import Manifest
from edgekit.runtime.policies import Confidence, Policy, Reached


class Asking(Policy):
    """Asks every exit how sure it is, as early exits must, and lets nobody leave; asks nothing while ``asks`` is false."""

    def __init__(self, exits: Sequence[str]) -> None:
        self.asks = True
        self._confidence = Confidence(dict.fromkeys(exits, 1.0))

    def check(self, manifest: Manifest) -> None:
        """See `Policy.check`."""
        self._confidence.check(manifest)

    def stop(self, reached: Reached) -> Optional[str]:
        """See `Policy.stop`."""
        if self.asks:
            self._confidence.stop(reached)
        return None
