"""OQA's low-bit subnets: bytes on disk, time and agreement per container and bit-width, against everybody else's.

    python -m benchmarks.oqa [--subnet oqa-b4-71.3 ...] [--checkpoint FILE] [--threads 2] [--quick] [--out FOLDER]

With ``--subnet``, what the JSON has of other subnets stays, each with the settings that it was measured with. Times are of one picture, model only, in interleaved rounds within one process; the JSON beside the table says the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch

from benchmarks import machine
from benchmarks.oqa_brevitas import qcdq_graph
from benchmarks.oqa_layers import flips, inputs_of, opened
from benchmarks.oqa_subjects import (
    picture,
    plain_graphs,
    post_training_int8,
    quantised_bytes,
    random_subnet,
)
from benchmarks.runtimes import Array, in_onnxruntime, in_openvino
from benchmarks.timing import Times, interleave, whole
from edgekit.bundle import Bundle, Variant
from edgekit.export.exporter import run as export
from edgekit.export.request import Request
from edgekit.models.oqa_catalogue import find
from edgekit.models.oqa_staged import StagedOqa, build
from edgekit.packed import stored_bytes
from edgekit.runtime.backends.onnxruntime_settings import session_config

Run = Callable[[], Sequence[Array]]  # one picture through a graph

DEFAULT = ("oqa-b4-71.3", "oqa-b3-67.0", "oqa-b2-59.8")
OURS = "edgekit "
IN_OPENVINO = ", OpenVINO"
CHOSEN = "edgekit, measured choice"


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--subnet", action="append", help="a published subnet; by default one of every bit-width"
    )
    parser.add_argument("--checkpoint", help="the authors' supernet of these bits; by default random weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {
        **machine.describe(args.threads), "boundary": "model", "clock": "perf_counter",
        "weights": "checkpoint" if args.checkpoint else "random, steps and statistics from pictures",
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / "oqa.json"
    kept = json.loads(target.read_text())["subnets"] if args.subnet and target.is_file() else {}
    measured = {
        name: {**measure(name, args.checkpoint, args.threads, 4 if args.quick else 16), "settings": settings}
        for name in args.subnet or DEFAULT
    }
    document = {"settings": settings, "not_run": _not_run(), "subnets": {**kept, **measured}}
    target.write_text(json.dumps(document, indent=1) + "\n")
    for what in _not_run():
        print(f"not run: {what}")
    print(f"written: {target.name}")


def measure(name: str, checkpoint: str | None, threads: int, rounds: int) -> dict[str, object]:
    """One subnet against everybody."""
    known = find(name)
    staged = random_subnet(known) if checkpoint is None else build(checkpoint, {"subnet": name}, None)
    assert isinstance(staged, StagedOqa)
    image = picture(known.image_size)
    _STAGED[:] = [staged]
    with TemporaryDirectory() as folder, torch.no_grad():
        exported = export(Request("benchmarks.oqa:staged", target="cpu", out=f"{folder}/oqa.edgekit"))
        bundle = exported.bundle
        variants = bundle.manifest.stages[0].variants
        graphs = {variant.name: bundle.read_graph(variant.graph) for variant in variants}
        reference = staged.net(image).numpy()
        plain = plain_graphs(staged.net, known.image_size)
        others = {f"ONNX Runtime, {kind}": graph for kind, graph in plain.items()}
        others |= {
            f"ONNX Runtime, {kind}": graph
            for kind, graph in post_training_int8(plain["float"], known.image_size).items()
        }
        with contextlib.suppress(ImportError):  # which `_not_run` tells
            others["ONNX Runtime, Brevitas' export"] = qcdq_graph(staged.net, image)
        feed = image.numpy()
        # All of them as edgekit runs its stages, each thread on a core of its own. Left free, a second thread may wake on the
        # caller's core and stay there for some ms: that lengthens the short runs, by a half, and spares the long ones.
        config = session_config(onnxruntime, threads, spin=True)
        as_stages = partial(in_onnxruntime, threads=threads, config=config)
        runs: dict[str, Run] = {
            f"{OURS}{variant.name}": partial(as_stages(graphs[variant.name]), feed)
            for variant in variants
            if variant.runtime != "openvino"
        }
        runs |= {kind: partial(as_stages(graph), feed) for kind, graph in others.items()}
        for variant in variants:
            if variant.runtime != "onnxruntime":
                runs[f"{OURS}{variant.name}{IN_OPENVINO}"] = partial(
                    in_openvino(graphs[variant.name], threads), feed
                )
        for kind, graph in plain.items():
            runs[f"OpenVINO, {kind}"] = partial(in_openvino(graph, threads), feed)
        runs["OpenVINO, float, bfloat16 allowed"] = partial(
            in_openvino(plain["float"], threads, "bf16"), feed
        )
        found = _chosen(runs)
        again = partial(in_openvino, threads=threads) if found.endswith(IN_OPENVINO) else as_stages
        runs[CHOSEN] = partial(again(graphs[found.removesuffix(IN_OPENVINO)]), feed)
        times = interleave({kind: whole(kind, run) for kind, run in runs.items()}, rounds, 3)
        sizes = _sizes(bundle, staged, plain["float"])
        unpacking = {variant.name: _unpacking(bundle, variant) for variant in variants}
        flipped = _flipped(staged, image, graphs, threads)
    rows = _rows(times, runs, reference)
    _print(name, rows, sizes, unpacking, found, flipped)
    return {
        "session_config": config,
        "bits": known.bits, "image_size": known.image_size, "macs_m": known.macs_m, "chosen": found, "rows": rows,
        "bytes": sizes, "read_graph_ms": unpacking, "figures": _figures(times, sizes, unpacking),
        "agreement": {
            variant.name: max(r.typical for r in exported.parity if r.variant == variant.name and r.unit == "of the codes")
            for variant in variants
        },
        "codes_flipped": flipped,
    }  # fmt: skip


_STAGED: list[StagedOqa] = []


def staged() -> StagedOqa:
    """What is exported as ``benchmarks.oqa:staged``."""
    return _imported()[0]


def _imported() -> list[StagedOqa]:
    """The list that `measure` fills: run as a program, this file is another module than the one that export imports."""
    import __main__

    found: list[StagedOqa] = getattr(__main__, "_STAGED", _STAGED)
    return found or _STAGED


def _chosen(runs: dict[str, Run]) -> str:
    """What `edgekit bench` does on the device, once for each backend: containers in turns, the fastest median is kept."""
    ours = {kind.removeprefix(OURS): run for kind, run in runs.items() if kind.startswith(OURS)}
    times = interleave({kind: whole(kind, run) for kind, run in ours.items()}, 12, 2)
    return min(ours, key=times.median)


def _flipped(
    staged: StagedOqa, image: torch.Tensor, graphs: dict[str, bytes], threads: int
) -> dict[str, dict[str, float]]:
    """The share of codes that are not the reference's at the same layer inputs: of all, and of the worst layer."""
    given = inputs_of(staged.net, image)
    found = {}
    for kind in ("grid", "qdq", "codes"):
        graph = opened(graphs[kind], given)
        for suffix, runtime in (("", in_onnxruntime), (IN_OPENVINO, in_openvino)):
            rows = flips(staged.net, image, given, runtime(graph, threads), kind == "qdq")
            found[kind + suffix] = {
                "of_all": sum(row.count for row in rows) / sum(row.of for row in rows),
                "of_the_worst_layer": max(row.count / row.of for row in rows),
            }
    return found


def _sizes(bundle: Bundle, staged: StagedOqa, plain: bytes) -> dict[str, int]:
    u8 = bundle.manifest.stages[0].variants[0]
    stored = stored_bytes(bundle.read_bytes(u8.graph))
    low = sum(count for bits, count in stored.items() if bits)
    return {
        "quantised_float32": quantised_bytes(staged.net),
        "quantised_packed": low,
        "graph_and_weights_packed": u8.bytes + sum(stored.values()),
        "float32_onnx": len(plain),
        "bundle": sum(entry.bytes for entry in bundle.manifest.files.values()),
    }


def _unpacking(bundle: Bundle, variant: Variant) -> float:
    """Reading a graph, ms: hashes checked, weights unpacked; the median of several."""
    found = []
    for _ in range(7):
        start = time.perf_counter()
        bundle.read_graph(variant.graph)
        found.append((time.perf_counter() - start) * 1e3)
    return float(np.median(found))


def _rows(times: Times, runs: dict[str, Run], reference: np.ndarray) -> dict[str, dict[str, float]]:
    base = "ONNX Runtime, fake-quantised"
    scale = float(np.abs(reference).max())
    return {
        kind: {
            "ms": times.median(kind),
            "of_fake_quantised": times.ratio([kind], [base]),
            "of_float": times.ratio([kind], ["ONNX Runtime, float"]),
            "logits_apart": float(np.abs(run()[0] - reference).max()) / scale,
        }
        for kind, run in runs.items()
    }


def _figures(times: Times, sizes: dict[str, int], unpacking: dict[str, float]) -> dict[str, float]:
    rivals = [kind for kind in times.rounds if kind.startswith("ONNX Runtime") and "fake" not in kind]
    return {
        "int8_of_fake_quantised": times.ratio([f"{OURS}u8"], ["ONNX Runtime, fake-quantised"]),
        "packed_of_float32": sizes["quantised_packed"] / sizes["quantised_float32"],
        "choice_of_onnxruntimes_best": times.ratio([CHOSEN], [min(rivals, key=times.median)]),
        "choice_of_openvino_float": times.ratio([CHOSEN], ["OpenVINO, float"]),
        "read_graph_ms": max(unpacking.values()),
    }


def _not_run() -> list[str]:
    """What could not be had of those that could express these networks, and why."""
    reasons = []
    for name in ("brevitas.nn", "onnxoptimizer"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            reasons.append(f"Brevitas: {error}; see benchmarks/oqa_brevitas.py")
            break
    runs = "a reference executor node by node; no runtime with kernels takes its Quant operators"
    return [*reasons, f"a QONNX export: nothing to time: QONNX comes with {runs}"]


def _print(
    name: str,
    rows: dict[str, dict[str, float]],
    sizes: dict[str, int],
    unpacking: dict[str, float],
    chosen: str,
    flipped: dict[str, dict[str, float]],
) -> None:
    print(f"\n{name}: the measured choice is {chosen}")
    print(f"{'':38} {'ms':>7}  {'of fake-q.':>10}  {'of float':>8}  {'logits apart':>12}")
    for kind, row in rows.items():
        print(
            f"{kind:38} {row['ms']:7.2f}  {row['of_fake_quantised']:10.2f}  {row['of_float']:8.2f}  {row['logits_apart']:12.1e}"
        )
    share = sizes["quantised_packed"] / sizes["quantised_float32"]
    print(
        f"quantised layers {sizes['quantised_packed']:,} bytes packed, {sizes['quantised_float32']:,} in float32 ({share:.3f}); "
        f"whole graph {sizes['graph_and_weights_packed']:,} against {sizes['float32_onnx']:,}"
    )
    print(
        "codes flipped at the same layer inputs, of all (of the worst layer): "
        + ", ".join(
            f"{kind} {row['of_all']:.1e} ({row['of_the_worst_layer']:.1e})" for kind, row in flipped.items()
        )
    )
    print(
        "reading a graph, ms: " + ", ".join(f"{kind} {ms:.1f}" for kind, ms in unpacking.items()), flush=True
    )


if __name__ == "__main__":
    main()
