"""Two networks, one budget: depth with the shipped weights, and a classifier of one's own; prints where every ms went.

python examples/two_networks.py [--budget-ms 20] [--frames 10]
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where edgekit is not installed

import numpy as np

import edgekit
from edgekit.models.training.scenes.scene import scene
from edgekit.runtime import Arbiter, Share

HEIGHT, WIDTH = 192, 320


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget-ms", type=float, default=20.0)
    parser.add_argument("--frames", type=int, default=10)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as folder:
        print("exporting both networks ...")
        edgekit.export(model="anynet", size=(HEIGHT, WIDTH), out=f"{folder}/depth.edgekit")
        edgekit.export(model="custom_network:build", size=(64, 64), out=f"{folder}/signs.edgekit")
        depth, signs = edgekit.load(f"{folder}/depth.edgekit"), edgekit.load(f"{folder}/signs.edgekit")
    shares = {
        "depth": Share(depth, weight=2.0, minimum="stage1"),  # some depth in every frame
        "signs": Share(signs, utilities=[0.8, 1.0]),
    }
    late = 0
    with depth, signs, Arbiter(shares) as arbiter:
        for number in range(options.frames):
            view = scene(1, number, HEIGHT, WIDTH)
            shared = arbiter.infer(
                options.budget_ms, depth={"left": view.left, "right": view.right}, signs={"image": view.left}
            )
            reached = ", ".join(f"{name} {one.stage}" for name, one in shared.results.items())
            print(f"frame {number}: {reached}; {shared.elapsed_ms:.1f} ms, worth {shared.utility:.2f}")
            late += shared.missed
            if shared.results["signs"].output is not None:
                logits = shared.results["signs"].output
                print(f"  sign {int(np.argmax(logits))}")
    print("\n".join(shared.explain()))
    print(f"{late} of {options.frames} frames late")


if __name__ == "__main__":
    main()
