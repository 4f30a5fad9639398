"""Pictures packed for the next stage as others leave, against the uncut network on full batches: python -m benchmarks.packed_batches.

Two MSDNets of the authors' kind whose multiply-adds would allow 1.8 times the throughput if half of the pictures leave at the first
exit: CIFAR's with ten exits, and ImageNet's step 4 with seven. Weights are random; who leaves is decided by counting, not by confidence.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

import edgekit
from benchmarks import machine, runtimes
from benchmarks.multiexit import STEP4, random_network
from benchmarks.ours import session_config, uncut_graph
from benchmarks.timing import Times, interleave, whole
from edgekit.models.msdnet import MSDNetOptions
from edgekit.runtime.policies import Policy, Reached

PACK, PICTURES, BAR = 32, 64, 1.6
NETWORKS = {"CIFAR, 10 exits": MSDNetOptions(), "ImageNet step 4, 7 exits": replace(STEP4, nBlocks=7)}
UNCUT, PACKED = "uncut, batches of 32", "infer_batch, half leaving at exit 1"


class EverySecond(Policy):
    """Lets every second picture leave at the first exit."""

    def __init__(self) -> None:
        self._asked = 0

    def stop(self, reached: Reached) -> str | None:
        """See `Policy.stop`."""
        self._asked += len(reached.exits) == 1
        return "counted" if len(reached.exits) == 1 and self._asked % 2 else None


@dataclass(frozen=True)
class Measured:
    """One network: how many times the uncut network's throughput multiply-adds allow, and how many were reached."""

    network: str
    allowed: float
    reached: float
    uncut_ms: float
    packed_ms: float


def measure(name: str, options: MSDNetOptions, scratch: Path, threads: int, rounds: int) -> Measured:
    """Time both in turns on the same pictures."""
    net = random_network(options)
    torch.save({"state_dict": net.state_dict()}, scratch / "net.pth")
    config = {key: value for key, value in asdict(options).items() if value != asdict(MSDNetOptions())[key]}
    bundle = edgekit.export(
        model="msdnet", target="cpu", checkpoint=scratch / "net.pth", config=config, out=scratch / "net.edgekit",
        batch=None, parity=False, overwrite=True,
    )  # fmt: skip
    macs = [stage.macs for stage in bundle.manifest.stages]
    (scratch / "joined.onnx").write_bytes(uncut_graph(bundle).SerializeToString())
    spec = bundle.manifest.inputs[0]
    pictures = np.random.default_rng(0).standard_normal((PICTURES, *spec.shape[1:])).astype(np.float32)
    with edgekit.load(bundle.path, threads=threads, policies=(EverySecond(),)) as session:
        uncut = runtimes.in_onnxruntime(scratch / "joined.onnx", threads, session_config(session))

        def batches() -> None:
            for start in range(0, PICTURES, PACK):
                uncut(pictures[start : start + PACK])

        leaving = [result.stage for result in session.infer_batch(list(pictures))].count("stage1")
        assert leaving == PICTURES // 2, leaving
        contenders = {
            UNCUT: whole(UNCUT, batches),
            PACKED: whole(PACKED, lambda: session.infer_batch(list(pictures))),
        }
        times: Times = interleave(contenders, rounds, 2)
    share = macs[0] / sum(macs)
    return Measured(
        name,
        1 / (0.5 + 0.5 * share),
        times.ratio([UNCUT], [PACKED]),
        times.median(UNCUT),
        times.median(PACKED),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it ran."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.packed_batches", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder for packed_batches.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="networks whose name holds this text")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    described, begun = machine.describe(options.threads), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = []
    for name, network in NETWORKS.items():
        if options.only is None or options.only in name:
            with tempfile.TemporaryDirectory() as scratch:
                found.append(measure(name, network, Path(scratch), options.threads, options.rounds))
    print("measured on", ", ".join(f"{key} {value}" for key, value in described.items()))
    print(
        f"{PICTURES} pictures in packs of {PACK}; {options.rounds} rounds taken in turns, the faster of 2 runs each; medians"
    )
    for one in found:
        what = f"{one.network}: uncut {one.uncut_ms:.0f} ms, packed {one.packed_ms:.0f} ms: {one.reached:.2f}x of {one.allowed:.2f}x"
        print(
            f"{'reached' if one.reached >= BAR else 'NOT REACHED':12}{what} that multiply-adds allow; >= {BAR}x"
        )
    document = {
        "what": "measured", "clock": "CLOCK_MONOTONIC, in process", "begun": begun, "machine": described,
        "settings": {"pictures": PICTURES, "pack": PACK, "rounds": options.rounds, "threads": options.threads, "bar": BAR},
        "networks": [asdict(one) for one in found],
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "packed_batches.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
