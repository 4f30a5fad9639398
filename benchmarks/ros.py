"""What the ROS node adds to its session's own time, on a real master at 20 Hz: python -m benchmarks.ros [--seconds N] [--out FOLDER]."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import edgekit
from benchmarks.machine import describe
from benchmarks.ros_world import ADVICE, World, missing

SIZE = (480, 640)
RATE = 20.0
ADDED_MS = 5.0


def main() -> int:
    """Measure, write and print; 1 where the bar is missed or a message is unaccounted for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="by default AnyNet of 480x640")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each priority")
    parser.add_argument("--budget-ms", type=float, default=45.0)
    parser.add_argument(
        "--threads", type=int, default=1, help="of a stage; a robot's cameras need a core too"
    )
    parser.add_argument("--out", type=Path, default=Path("bench"))
    args = parser.parse_args()
    if missing():
        sys.exit(f"needs ROS 1: {ADVICE}")
    args.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        bundle = args.bundle
        if bundle is None:
            bundle = Path(folder) / "anynet.edgekit"
            edgekit.export(model="anynet", target="jetson", size=SIZE, out=str(bundle))
        for priority in ("normal", "realtime"):
            rows[priority] = measured(world, bundle.absolute(), priority, args)
            world.rest()
    document = {
        "what": f"AnyNet {SIZE[0]}x{SIZE[1]}, bgr8, {RATE:g} Hz, budget {args.budget_ms:g} ms, every exit published",
        "added": "from the complete pair in the node until ROS has its answer's bytes for whoever listens, less what the session took;"
        " ROS's transport is not in it",
        "returned": "the same until rospy's publish() has returned, which gives the rest of its turn away after it has queued them",
        "machine": describe(args.threads),
        "rows": rows,
    }
    (args.out / "ros.json").write_text(json.dumps(document, indent=1) + "\n")
    for priority, row in rows.items():
        print(
            f"{priority:9} added ms: median {row['added_p50_ms']:.2f}, p99 {row['added_p99_ms']:.2f} (bar {ADDED_MS:g}),"
            f" p99 until publish() returns {row['returned_p99_ms']:.2f};"
            f" {row['sent']} pairs, {row['answered']} answered, {row['dropped']} dropped, {row['unaccounted']} unaccounted for;"
            f" heard {row['heard']} answers of {row['answered']} pairs"
        )
    return int(any(not row["held"] for row in rows.values()))


def measured(world: World, bundle: Path, priority: str, args: argparse.Namespace) -> dict[str, object]:
    """One node, and what it says of itself after so many seconds."""
    world.node(bundle, priority=priority, budget_ms=args.budget_ms, threads=args.threads)
    shots: list[dict[str, Any]] = [{}] * int(args.seconds * RATE)
    found = world.robot(shots, rate=RATE, size=list(SIZE), name=f"robot_{priority}")
    before: Mapping[str, str] = found["before"]["values"]
    said: Mapping[str, str] = found["diagnosis"]["values"]
    numbers = {
        name: int(said[name]) - int(before[name])
        for name in ("answered", "dropped", "failed", "disordered", "refused", "unpaired_left", "missed")
    }
    unaccounted = len(shots) - sum(numbers.values()) + numbers["missed"]  # those are answered too
    added = {name: float(said[name]) for name in ("added_p50_ms", "added_p99_ms", "returned_p99_ms")}
    return {
        "sent": len(shots), **numbers, "unaccounted": unaccounted, "heard": len(found["answers"]), **added,
        "held": unaccounted == 0 and added["added_p99_ms"] <= ADDED_MS,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
