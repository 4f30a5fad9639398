"""Staged models to lowered ONNX graphs in a bundle, proven equal to the reference stage by stage.

The package is callable: ``edgekit.export(model="anynet", ...)`` is `edgekit.export.exporter.export`, and stays callable after
``import edgekit.export.anything`` has bound the package's own name. Nothing heavy is imported before the first call.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.bundle import Bundle


class _CallablePackage(ModuleType):
    if TYPE_CHECKING:
        __call__: Callable[..., Bundle]
    else:

        def __call__(self, *args, **kwargs):
            from edgekit.export.exporter import export

            return export(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
