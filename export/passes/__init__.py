"""What is made simpler in a converted graph before it is written, in this order; each pass is a class with one `call`.

Only what pays: batch norms and padding that a convolution absorbs, constants, reshapes of reshapes, what nothing reads,
what is held twice. Everything else
(fusing activations, layouts, kernels) the runtimes do themselves, and better.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import DeduplicateInitializersPass, RemoveUnusedNodesPass

from edgekit.export.passes.fold_batch_norm import FoldBatchNorm
from edgekit.export.passes.fold_constants import FoldConstants
from edgekit.export.passes.fold_padding import FoldPadding
from edgekit.export.passes.merge_reshapes import MergeReshapes


def simplify(model: ir.Model) -> ir.Model:
    """Run every pass over ``model``, in place."""
    passes = (
        FoldConstants(),
        FoldBatchNorm(),
        FoldPadding(),
        MergeReshapes(),
        RemoveUnusedNodesPass(),
        DeduplicateInitializersPass(size_limit=1 << 24),
    )
    for each in passes:
        each(model)
    return model
