"""OQA's golden subnets, as the authors' checkpoints and settings make them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.models.checkpoint import read_state_dict
from edgekit.models.oqa import OqaNet
from edgekit.models.oqa_space import subnet_config
from edgekit.models.oqa_staged import supernet_of


def golden_subnets(shared: Path) -> Iterator[tuple[str, OqaNet, np.ndarray, np.ndarray]]:
    """Every golden subnet with its pictures and its logits."""
    for case in sorted((shared / "golden").glob("oqa_*.json")):
        spec: dict[str, Any] = json.loads(case.read_text())
        arrays = np.load(case.with_suffix(".npz"))
        config = {**spec["config"], "bits": spec["bits"]}
        supernet = supernet_of(read_state_dict(case.parent / spec["checkpoint"]), config, case.name)
        for output, subnet in zip(spec["outputs"], spec["subnets"], strict=True):
            net = supernet.subnet(subnet_config(supernet.options, subnet))
            yield f"{case.stem} {output}", net, arrays["image"], arrays[output]
