"""One camera, two networks: every frame's budget is shared, and whoever subscribed gets each network's answers at once.

    python examples/one_camera.py [--source left_and_right/ | --source 0 2] [--rate 10] [--budget-ms 60] [--seconds 3]

Depth with the shipped weights goes to one subscriber, the classes of a network of one's own to another. Without ``--source``,
rendered stereo pairs stand in for a camera.
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
from edgekit.runtime.stream import Answer, ArbiterAnswerer, Seen, Source, Stream, source_of

HEIGHT, WIDTH = 192, 320


class Rendered(Source):
    """A dozen rendered stereo pairs, again and again."""

    name = "rendered scenes"

    def open(self) -> None:
        views = [scene(1, number, HEIGHT, WIDTH) for number in range(12)]
        self._frames = [Seen({"left": view.left, "right": view.right}) for view in views]
        self._next = 0

    def read(self) -> Seen:
        self._next += 1
        return self._frames[self._next % len(self._frames)]


def steer(answer: Answer) -> None:
    better = "" if answer.final else ", a better one may come"
    print(
        f"frame {answer.frame.number}: depth by {answer.stage}, {answer.age_ms:.1f} ms old, median disparity"
        f" {np.median(answer.output):.1f} px{better}"
    )


def read_sign(answer: Answer) -> None:
    print(
        f"frame {answer.frame.number}: sign {int(np.argmax(answer.output))} by {answer.stage}, {answer.age_ms:.1f} ms old"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", nargs="+", help="folders, videos or cameras; see docs/stream.md")
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--budget-ms", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as folder:
        print("exporting both networks ...")
        edgekit.export(model="anynet", size=(HEIGHT, WIDTH), out=f"{folder}/depth.edgekit")
        edgekit.export(model="custom_network:build", size=(64, 64), out=f"{folder}/signs.edgekit")
        depth, signs = edgekit.load(f"{folder}/depth.edgekit"), edgekit.load(f"{folder}/signs.edgekit")
    source = source_of(options.source, ["left", "right"]) if options.source else Rendered()
    shares = {
        "depth": Share(depth, weight=2.0, minimum="stage1"),
        "signs": Share(signs, utilities=[0.8, 1.0]),
    }
    with depth, signs, Arbiter(shares) as arbiter:
        # The classifier's only input is called `image`, and sees the left picture.
        stream = Stream(ArbiterAnswerer(arbiter), source, rate=options.rate, budget_ms=options.budget_ms)
        stream.subscribe(steer, network="depth")
        stream.subscribe(read_sign, network="signs", final_only=True)
        counts = stream.run(options.seconds)
    best = ", ".join(f"{number} by {name}" for name, number in sorted(counts.exits.items()))
    print(
        f"{counts.answered} of {counts.captured} frames answered, {counts.missed} late; best answers: {best}"
    )


if __name__ == "__main__":
    main()
