"""Run as a program: how far AnyNet in torch is from each array of a golden case, as JSON. `python golden_errors.py CASE.json`

A program of its own because the vectors were made on a machine with AVX2 and no AVX-512, and ONEDNN_MAX_CPU_ISA is read when
torch starts. Their weights are random and amplify float32 rounding so much that another instruction set's order of summation
moves 2 to 8 % of the pixels by more than 1e-3 px; with AVX2 this network is exact to the bit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from edgekit.models.anynet import from_weights
from edgekit.models.checkpoint import read_state_dict


def main(case: Path) -> None:
    """Print {output: share of pixels further than 1e-3 px away}."""
    spec = json.loads(case.read_text())
    arrays = np.load(case.with_suffix(".npz"))
    checkpoint = case.parent / spec["checkpoint"]
    net = from_weights(read_state_dict(checkpoint), spec["config"], str(checkpoint))
    with torch.no_grad():
        exits = net(*(torch.from_numpy(arrays[name]) for name in spec["inputs"]))
    assert len(exits) == len(spec["outputs"])
    beyond = {
        name: float((np.abs(exit_.numpy() - arrays[name]) > 1e-3).mean())
        for name, exit_ in zip(spec["outputs"], exits, strict=True)
    }
    print(json.dumps(beyond))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
