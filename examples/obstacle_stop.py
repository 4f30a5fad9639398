"""Stops for what is near: disparities of rendered frames under a budget, depth from focal length and baseline.

    python examples/obstacle_stop.py [--budget-ms 30] [--stop-at 1.5] [--frames 20]

The robot acts on every answer it has, the first exit included, and slows down while it has none.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where edgekit is not installed

import numpy as np

import edgekit
from edgekit.models.training.scenes.scene import scene

HEIGHT, WIDTH = 192, 320
FOCAL_PX, BASELINE_M = 300.0, 0.12
# What lies in the path: the middle third of the picture. A few wrong pixels must not stop a robot, so the nearest 2 % decide.
PATH = (slice(HEIGHT // 4, 3 * HEIGHT // 4), slice(WIDTH // 3, 2 * WIDTH // 3))
NEAREST = 98


def nearest_m(disparity: np.ndarray) -> float:
    """How far away what is in the path is, in m."""
    return FOCAL_PX * BASELINE_M / max(float(np.percentile(disparity[PATH], NEAREST)), 1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget-ms", type=float, default=30.0)
    parser.add_argument("--stop-at", type=float, default=1.5, help="m")
    parser.add_argument("--frames", type=int, default=20)
    options = parser.parse_args()
    stops = blind = 0
    with tempfile.TemporaryDirectory() as folder:
        print("exporting AnyNet with the shipped weights ...")
        edgekit.export(model="anynet", size=(HEIGHT, WIDTH), out=f"{folder}/depth.edgekit")
        with edgekit.load(f"{folder}/depth.edgekit") as session:
            for number in range(options.frames):
                view = scene(7, number, HEIGHT, WIDTH)
                result = session.infer(budget_ms=options.budget_ms, left=view.left, right=view.right)
                if result.output is None:
                    blind += 1
                    print(f"frame {number}: no answer within {options.budget_ms:g} ms: SLOW DOWN")
                    continue
                near, true = nearest_m(result.output), nearest_m(view.disparity)
                act = "STOP" if near < options.stop_at else "go"
                stops += act == "STOP"
                print(
                    f"frame {number}: {near:5.2f} m (truly {true:5.2f}) by {result.stage} in {result.elapsed_ms:5.1f} ms: {act}"
                )
    print(f"{options.frames} frames: stopped in {stops}, without an answer in {blind}")


if __name__ == "__main__":
    main()
