"""A network of one's own, from torch to answers within a budget: exported in stages, loaded, run.

    python examples/custom_network.py [--budget-ms 5]

`build` is what `edgekit export --model custom_network:build` calls; docs/own-network.md says what else there is.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where edgekit is not installed

import numpy as np
import torch
from torch import nn

import edgekit
from edgekit.models.staged import ImageInput, Stage


class Trunk(nn.Module):
    """The picture to early logits, and to the map that the rest of the network reads."""

    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))

    def forward(self, image):
        features = self.body(image)
        return self.head(features), features


class Rest(nn.Module):
    """The map to better logits."""

    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(16, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))

    def forward(self, features):
        return self.head(self.body(features))


class Custom:
    """A staged model: any object with these attributes."""

    family = "custom"
    task = "classification"

    def __init__(self, classes, size):
        self.options = {"classes": classes}
        self.inputs = [ImageInput("image", *size, crop=1.0)]
        self.trunk, self.rest = Trunk(len(classes)).eval(), Rest(len(classes)).eval()

    def stages(self):
        return [
            Stage("stage1", self.trunk, ("image",), ("logits1", "features"), exit="logits1"),
            Stage("stage2", self.rest, ("features",), ("logits2",), exit="logits2"),
        ]

    def reference(self, image):
        early, features = self.trunk(image)
        return [early, self.rest(features)]


def build(config, size):
    """The network, with random weights: load yours here."""
    torch.manual_seed(0)
    return Custom(config.get("classes", ["left", "right", "stop"]), size or (64, 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget-ms", type=float, default=5.0)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        bundle = edgekit.export(model="custom_network:build", out=f"{folder}/custom.edgekit")
        with edgekit.load(bundle.path) as session:
            for budget in (None, options.budget_ms):
                result = session.infer(budget_ms=budget, image=picture)
                logits = "no answer" if result.output is None else np.round(result.output, 3)
                print(
                    f"budget {budget} ms: {result.stage} in {result.elapsed_ms:.2f} ms ({result.reason}): {logits}"
                )


if __name__ == "__main__":
    main()
