"""CondenseNet through edgekit against its peers: python -m benchmarks.condensenet [--quick] [--only NAME] [--out DIR].

Every network is a race of its own, so they may be measured one after the other with ``--only``: what DIR/condensenet.json already
says of the others is kept, each with the settings of its own run. ncnn is no peer: its converter, pnnx 20261020, writes the index as
torch.index_select, which ncnn 1.0.20261020 does not have. Random weights: nothing is trained here, and times do not depend on them. Everybody runs one picture at a time on as many
threads, in turns; the matrix product that the share of the peak is of takes its turns among them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import edgekit
from benchmarks import machine, runtimes
from benchmarks.condensenet_rivals import densenet121, mobilenet_v2
from benchmarks.dense_copies import Copies, copies, program_copies
from benchmarks.runtimes import SPIN_WITHIN_RUNS
from benchmarks.timing import Contender, Times, interleave, whole
from edgekit.bundle import Bundle
from edgekit.export.choice import MEASURED
from edgekit.export.convert import convert, serialize
from edgekit.export.lowering.condensenet import LoweredCondenseNet
from edgekit.export.macs import CostCounter
from edgekit.export.passes import simplify
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions, converted
from edgekit.program import Program, decode
from edgekit.runtime.device.system import peak_memory_bytes
from edgekit.runtime.session import Session

OURS, NATIVE, EAGER, PLAIN, OPENVINO, MNN = (
    "edgekit, ONNX Runtime",
    "edgekit, native",
    "PyTorch eager",
    "plain export, ONNX Runtime",
    "plain export, OpenVINO",
    "plain export, MNN",
)
PEERS = (EAGER, PLAIN, OPENVINO, MNN)
PRODUCT = "matrix product"
CHUNKED = "chunks-apart"
CHOSEN, CHUNKS = "edgekit, the graph chosen", f"edgekit, {CHUNKED}"
C8: dict[str, object] = {"group_1x1": 8, "group_3x3": 8, "condense_factor": 8}


def _cifar(layers: int, *growth: int) -> dict[str, object]:
    return {"stages": (layers,) * 3, "growth": growth, "data": "cifar10", "num_classes": 10}


NETWORKS: Mapping[str, dict[str, object]] = {
    "CondenseNet-74 C=G=8": C8, "CondenseNet-74 C=G=4": {},
    "CIFAR CondenseNet-86": _cifar(14, 8, 16, 32), "CIFAR CondenseNet-122": _cifar(20, 8, 16, 32),
    "CIFAR CondenseNet-182": _cifar(30, 12, 24, 48),
}  # fmt: skip
BARS = {  # of the best peer, or of the plain export in ONNX Runtime
    "CondenseNet-74 C=G=8": (PEERS, 0.5), "CondenseNet-74 C=G=4": (PEERS, 0.6), "CIFAR CondenseNet-86": ((PLAIN,), 0.5),
}  # fmt: skip
RIVALS: Mapping[str, Callable[[], nn.Module]] = {"DenseNet-121": densenet121, "MobileNetV2": mobilenet_v2}


@dataclass(frozen=True)
class Row:
    """One network in one runtime: median over the rounds, ms; multiply-adds a second as GFLOP/s; share of the product's."""

    network: str
    runtime: str
    ms: float
    gflops: float
    share: float


@dataclass(frozen=True)
class Figure:
    """A bar and what was reached."""

    what: str
    bar: float
    measured: float

    @property
    def reached(self) -> bool:
        return self.measured <= self.bar


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it ran, whatever bars were reached."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.condensenet", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--only", metavar="TEXT", default="", help="networks whose name contains it")
    parser.add_argument(
        "--out", type=Path, default=Path("bench"), help="folder for condensenet.json and condensenet.png"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rounds, runs = (5, 3) if options.quick else (11, 5)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "condensenet.json"
    races: dict[str, dict[str, object]] = json.loads(path.read_text())["networks"] if path.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in [name for name in (*NETWORKS, *RIVALS) if options.only in name]:
            found, times, choice, copied, moved = race(name, options.threads, rounds, runs, Path(scratch))
            figures = [
                *judged(name, times),
                *judged_choice(name, choice),
                *judged_copies(name, copied, moved),
            ]
            races[name] = {
                "rows": [asdict(row) for row in found],
                "figures": [{**asdict(f), "reached": f.reached} for f in figures],
                "machine": dict(machine.describe(options.threads)), "rounds": rounds, "runs": runs, "choice": choice,
                "copies": {graph: compact(one) for graph, one in copied.items()}, "native_copies_bytes": moved,
                "peak_memory_bytes": peak_memory_bytes(),  # of this process, with every runtime in it
            }  # fmt: skip
            ordered = {one: races[one] for one in (*NETWORKS, *RIVALS) if one in races}
            bars = [figure for one in ordered.values() for figure in one["figures"]]  # type: ignore[attr-defined]
            path.write_text(written({"what": "measured", "figures": bars, "networks": ordered}))
            show(found, figures)
    rows = [Row(**row) for one in ordered.values() for row in one["rows"]]  # type: ignore[attr-defined]
    draw(rows, options.out / "condensenet.png")
    return 0


def race(
    name: str, threads: int, rounds: int, runs: int, scratch: Path
) -> tuple[list[Row], Times, list[dict[str, object]], dict[str, Copies], int | None]:
    """Time one network in every runtime, in turns; also the times by which ours were chosen, and what its graphs and program copy."""
    print(name, file=sys.stderr)
    options = NETWORKS.get(name)
    net = RIVALS[name]() if options is None else random_net(options)
    side = 32 if options is not None and options.get("data") == "cifar10" else 224
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), CostCounter(net) as cost:
        net(picture)
    contenders = plain_contenders(net, picture, threads, scratch / "plain.onnx")
    choice: list[dict[str, object]] = []
    copied: dict[str, Copies] = {}
    moved: int | None = None
    sessions: list[Session] = []
    if options is not None:
        assert isinstance(net, CondenseNet)
        bundle = exported(net, options, scratch)
        graphs = {PLAIN: (scratch / "plain.onnx").read_bytes(), **ours_to_count(bundle, net, picture)}
        copied = {each: copies(graph, net.options, side) for each, graph in graphs.items()}
        moved = program_copies(program_of(bundle))
        kept = bundle.manifest.provenance["measured"]
        choice = list(kept["times"]) if isinstance(kept, dict) else []
        array = picture.numpy()
        for title, backend in ((OURS, "onnxruntime"), (NATIVE, "native")):
            session = edgekit.load(bundle.path, backend=backend, threads=threads)
            sessions.append(session)
            contenders[title] = partial(session.infer, image=array)
    turns: dict[str, Contender] = {each: whole(each, call) for each, call in contenders.items()}
    turns[PRODUCT] = machine.matrix_product(threads, PRODUCT, SPIN_WITHIN_RUNS)
    times = interleave(turns, rounds, runs)
    for session in sessions:
        session.close()
    peak = machine.PRODUCT_GFLOP / times.median(PRODUCT) * 1e3
    rows = []
    for runtime in contenders:
        gflops = 2 * cost.macs / times.median(runtime) / 1e6
        rows.append(Row(name, runtime, times.median(runtime), gflops, gflops / peak))
    return rows, times, choice, copied, moved


def random_net(options: Mapping[str, object]) -> CondenseNet:
    """A converted network as a training would leave it, but for its weights."""
    torch.manual_seed(0)
    net = CondenseNet(CondenseNetOptions(**options))  # type: ignore[arg-type]
    net.condense(1.0)
    return converted(net)


def exported(net: nn.Module, options: Mapping[str, object], scratch: Path) -> Bundle:
    """The network's bundle for this machine."""
    checkpoint = scratch / "net.pth.tar"
    torch.save({"state_dict": net.state_dict()}, checkpoint)
    config = {"data": options.get("data", "imagenet")}
    out = scratch / "net.edgekit"
    return edgekit.export(
        model="condensenet", checkpoint=checkpoint, target="cpu", config=config, out=out, overwrite=True
    )


def program_of(bundle: Bundle) -> Program:
    """The program of a bundle's only stage."""
    (stage,) = bundle.manifest.stages
    path = next(variant.graph for variant in stage.variants if variant.runtime == "native")
    return decode(bundle.read_bytes(path), path)


def ours_to_count(bundle: Bundle, net: CondenseNet, picture: torch.Tensor) -> dict[str, bytes]:
    """The graph that a bundle starts with, and the one whose features stay where they were computed, in the runtime's own layout."""
    (stage,) = bundle.manifest.stages
    chosen = next(
        variant.graph for variant in stage.variants if variant.name == stage.defaults["onnxruntime"]
    )
    chunked = LoweredCondenseNet(net, [CHUNKED] * len(net.options.stages)).eval()
    written = serialize(simplify(convert(chunked, {"image": picture}, ["logits1"], CHUNKED)))
    return {CHOSEN: bundle.read_graph(chosen), CHUNKS: written}


def plain_contenders(
    net: nn.Module, picture: torch.Tensor, threads: int, path: Path
) -> dict[str, Callable[[], object]]:
    """PyTorch as it is, and the plain export in every runtime that is installed and takes it."""
    array = picture.numpy()
    runtimes.plain_export(net, {"image": picture}, ["logits"], path, dynamo=True)
    in_onnxruntime = runtimes.in_onnxruntime(path, threads)
    (wanted,) = in_onnxruntime(array)
    found: dict[str, Callable[[], object]] = {
        EAGER: partial(runtimes.eager(net), array), PLAIN: partial(in_onnxruntime, array),
    }  # fmt: skip
    others = {
        OPENVINO: partial(runtimes.in_openvino, path, threads),
        MNN: partial(runtimes.in_mnn, path, ["image"], ["logits"], threads),
    }
    for name, build in others.items():
        try:
            run = build()
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name} is left out: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        assert np.allclose(run(array)[0], wanted, atol=1e-3 * float(np.abs(wanted).max())), name
        found[name] = partial(run, array)
    return found


def judged(name: str, times: Times) -> list[Figure]:
    """The network's bar, if it has one."""
    if name not in BARS:
        return []
    peers, bar = BARS[name]
    best = min((peer for peer in peers if peer in times), key=times.median)
    ours = min((OURS, NATIVE), key=times.median)  # which `load` takes once `bench` has measured both
    return [Figure(f"{name}: {ours} / {best} (the best of these peers)", bar, times.ratio([ours], [best]))]


def judged_choice(name: str, choice: Sequence[Mapping[str, object]]) -> list[Figure]:
    """Whether choosing by measurement paid, by the times it was made by: against the best and the worst whole form."""
    whole_forms = {str(row["form"]): float(str(row["ms"])) for row in choice if row["part"] == "whole"}
    taken = [float(str(row["ms"])) for row in choice if row["part"] == "whole" and row["chosen"]]
    single = [ms for form, ms in whole_forms.items() if form != MEASURED]
    if not taken or not single:
        return []
    return [
        Figure(f"{name}: the graph chosen / the best single form", 1.03, taken[0] / min(single)),
        Figure(f"{name}: the graph chosen / the worst single form", 1 / 1.2, taken[0] / max(single)),
    ]


def judged_copies(name: str, copied: Mapping[str, Copies], moved: int | None) -> list[Figure]:
    """What dense connectivity copies, layer by layer: native's program, the graph chosen by its time, and the one made to copy nothing."""
    found = []
    if moved is not None:
        found.append(Figure(f"{name}: bytes that native's program copies, all layers together", 0.0, moved))
    if CHOSEN in copied:
        worst = copied[CHOSEN].worst_layer
        found.append(
            Figure(
                f"{name}: bytes that a layer of ONNX Runtime's graph copies / adds, the worst layer",
                1.0,
                worst,
            )
        )
    if CHUNKS in copied:
        worst = copied[CHUNKS].worst_layer
        found.append(
            Figure(f"{name}: the same, of the graph whose chunks stay apart ({CHUNKED})", 1.0, worst)
        )
    return found


def compact(found: Copies) -> dict[str, object]:
    """As JSON: the worst ratios, and by block the bytes of each layer."""
    return {
        "worst_layer": round(found.worst_layer, 2), "worst_so_far": round(found.worst_so_far, 2), "transitions": found.transitions,
        "bytes": "added, joined, moved",
        "blocks": [[[layer.added, layer.joined, layer.moved] for layer in block] for block in found.blocks],
    }  # fmt: skip


def written(document: Mapping[str, object]) -> str:
    """As JSON, a layer's bytes in one line."""
    text = json.dumps(document, indent=1)
    return re.sub(r"\[\s+(\d+),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n"


def show(rows: Sequence[Row], figures: Sequence[Figure]) -> None:
    """Print the table and the bars."""
    print(f"{'network':24}{'runtime':30}{'ms':>8}{'GFLOP/s':>10}{'of the matrix product':>24}")
    for row in rows:
        print(f"{row.network:24}{row.runtime:30}{row.ms:8.2f}{row.gflops:10.1f}{row.share:24.1%}")
    for figure in figures:
        print(
            f"{'reached' if figure.reached else 'NOT REACHED':12}{figure.measured:6.2f}x  <= {figure.bar:.2f}x  {figure.what}"
        )


def draw(rows: Sequence[Row], out: Path) -> None:
    """Bars of the times, a group a network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    networks = list(dict.fromkeys(row.network for row in rows))
    runtimes = list(dict.fromkeys(row.runtime for row in rows))
    figure, axes = pyplot.subplots(figsize=(10, 4.5))
    for k, runtime in enumerate(runtimes):
        shown = {row.network: row.ms for row in rows if row.runtime == runtime}
        places = [
            n + (k - len(runtimes) / 2) * 0.15 for n, network in enumerate(networks) if network in shown
        ]
        axes.bar(places, [shown[network] for network in networks if network in shown], 0.14, label=runtime)
    axes.set_xticks(range(len(networks)), networks, rotation=15, fontsize=8)
    axes.set_ylabel("ms a picture (measured)")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
