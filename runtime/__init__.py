"""From a bundle to results inside a latency budget; Python 3.6 and numpy, no torch.

`Arbiter` and `Share` are here as soon as they are asked for, so that nothing is loaded that is not used.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.runtime.arbiter import Arbiter as Arbiter
    from edgekit.runtime.arbiter import Share as Share


class _Package(ModuleType):
    def __getattr__(self, name: str) -> object:
        """A module's own ``__getattr__`` is Python 3.7."""
        if name not in ("Arbiter", "Share"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from edgekit.runtime import arbiter

        return getattr(arbiter, name)


sys.modules[__name__].__class__ = _Package
