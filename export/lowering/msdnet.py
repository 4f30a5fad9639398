"""Let the maps that a stage of MSDNet or IMTA reads enter the runtime's own layout once, before anything joins them.

before: conv(x), conv(concat(x, new)), conv(concat(concat(x, new), newer)), ...
after:  the same with x' = max_pool(x) of 1x1 windows for x

ONNX Runtime computes convolutions and pooling in blocks of channels, and joins maps there if all of them are in blocks. What
comes from another stage is not, so every join would be brought back to plain NCHW, and into blocks again behind it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.export.lowering import Shapes, lowers
from edgekit.models.imta import CollaboratingStage
from edgekit.models.msdnet_stages import BlockStage


class Relaid(nn.Module):
    """A `BlockStage` whose maps pass a pooling that changes nothing."""

    def __init__(self, stage: BlockStage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        maps = [F.max_pool2d(x, 1) if x.dim() == 4 else x for x in tensors]  # not the previous exit's logits
        return self.stage(*maps)  # type: ignore[no-any-return]


@lowers(CollaboratingStage)
@lowers(BlockStage)
def lower_block(module: nn.Module, shapes: Shapes) -> dict[str, nn.Module]:
    """The first stage as it is, the others relaid."""
    assert isinstance(module, BlockStage)
    return {"relaid": Relaid(module).eval()} if module.index else {"plain": module}
