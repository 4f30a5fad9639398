"""What a module costs: multiply-adds of its convolutions and matrix products, and the parameters it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class CostCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own class is untyped
    """While active, counts what is run; elementwise operators, pooling and resizes count nothing.

    Attributes:
        macs: multiply-adds so far. Torch's own formulas count two operations for each.
        parameters: elements of the module's parameters that were read, each once however often it is.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.parameters = 0
        self._unread = {id(parameter): parameter.numel() for parameter in module.parameters()}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for argument in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(argument, Tensor):
                self.parameters += self._unread.pop(id(argument), 0)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.macs += formula(*args, **(kwargs or {}), out_val=result) // 2
        return result
