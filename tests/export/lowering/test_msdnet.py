"""A relaid stage of MSDNet or IMTA computes what the stage computes, whatever the network's options."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.export import lowering
from edgekit.models.imta import IMTA, StagedIMTA
from edgekit.models.msdnet import MSDNet, MSDNetOptions
from edgekit.models.msdnet_stages import StagedMSDNet


@settings(max_examples=12, deadline=None)
@given(
    st.booleans(),
    st.integers(2, 3),
    st.sampled_from(["min", "max"]),
    st.sampled_from(["even", "lin_grow"]),
    st.integers(1, 2),
)
def test_every_variant_gives_the_stages_own_tensors(
    collaborating: bool, blocks: int, prune: str, stepmode: str, base: int
) -> None:
    torch.manual_seed(0)
    options = MSDNetOptions(
        nBlocks=blocks, base=base, step=1, stepmode=stepmode, prune=prune, nChannels=8, growthRate=4
    )
    staged = StagedIMTA(IMTA(options)) if collaborating else StagedMSDNet(MSDNet(options))
    known = {"image": torch.randn(1, 3, 32, 32)}
    for stage in staged.stages():
        inputs = {name: known[name] for name in stage.inputs}
        with torch.no_grad():
            expected = stage.module.eval()(*inputs.values())
            forms = lowering.variants(stage.module, {name: tuple(x.shape) for name, x in inputs.items()})
            for module in forms.values():
                for ours, theirs in zip(module(*inputs.values()), expected, strict=True):
                    assert torch.equal(ours, theirs)
        known.update(zip(stage.outputs, expected, strict=True))
        assert list(forms) == (["plain"] if stage.name == "stage1" else ["relaid"])
