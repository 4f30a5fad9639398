"""The README's short table of the main results, from the same committed figures as the long ones below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.readme import Figure, LowBits, Ratio, Results

BEGIN = "<!-- from benchmarks/results by python -m benchmarks.readme -->"
END = "<!-- end of the summary -->"
PICTURE = "kitti2015_000000"
# How a bar of ours against the best peer begins, and where ours ran.
CHOSEN = {
    "all stages / plain, ": "", "edgekit, ONNX Runtime / ": "", "edgekit, native / ": ", edgekit's own kernels",
}  # fmt: skip
# What follows a contender's name, and where it ran.
BACKENDS = {"": "", ", native": ", edgekit's own kernels"}
WITHOUT_PROPAGATION = ("stage1", "stage2", "stage3")


def summary(
    results: Results, ratios: list[Ratio], low_bits: Mapping[str, LowBits], bars: list[Figure]
) -> str:
    """The Markdown between the marks."""
    rows = [*_anynet(results), *_families(ratios), *_low_bits(low_bits), *_weights(bars)]
    return "\n".join([BEGIN, "", "| | compared with | result |", "|---|---|---|", *rows, "", END])


def _anynet(results: Results) -> Iterator[str]:
    ms = {name: time["median_ms"] for name, time in results["times"].items()}
    for suffix, where in BACKENDS.items():
        if f"stage1{suffix}" not in ms:
            continue
        three = sum(ms[stage + suffix] for stage in WITHOUT_PROPAGATION)
        for peer in ("PyTorch eager", "plain export, ONNX Runtime", "plain export, OpenVINO"):
            yield f"| AnyNet, stages 1 to 3{where}: time | {peer} | {three / ms[peer]:.2f}x |"
        first = ms[f"stage1{suffix}"] / (three + ms[f"stage4{suffix}"])
        yield f"| AnyNet, first exit{where}: time | all four stages | {first:.2f}x |"
        yield (
            f"| AnyNet, picture to disparity{where}: time | OpenCV's StereoSGBM | "
            f"{ms['infer, pictures in' + suffix] / ms['StereoSGBM']:.2f}x |"
        )
    found = results["accuracy"][PICTURE]
    ours = f"{found['kitti stage4']['d1']:.1f} % with the authors' weights, {found['shipped stage4']['d1']:.1f} % shipped"
    yield f"| AnyNet, wrong pixels (D1) on {PICTURE} | StereoSGBM: {found['StereoSGBM']['d1']:.1f} % | {ours} |"


def _families(ratios: list[Ratio]) -> Iterator[str]:
    for ratio in ratios:
        name, _, what = ratio["what"].partition(": ")
        for start, backend in CHOSEN.items():
            if what.startswith(start):
                peer = what[len(start) :].partition(" (")[0]
                peer = peer if peer.startswith("plain export") else f"plain export, {peer}"
                yield f"| {name}{backend}: time | {peer}, the best peer | {ratio['measured']:.2f}x |"


def _low_bits(low_bits: Mapping[str, LowBits]) -> Iterator[str]:
    of_best = [found["figures"]["choice_of_onnxruntimes_best"] for found in low_bits.values()]
    span = f"{min(of_best):.2f} to {max(of_best):.2f}x"
    yield f"| OQA at 4, 3 and 2 bits: time | ONNX Runtime's best of float and post-training INT8 | {span} |"


def _weights(bars: list[Figure]) -> Iterator[str]:
    for bar in bars:
        name, _, what = bar["what"].partition(": early exits (")
        if what and "in batches" not in what:
            right, _, rest = what.partition(" right) against the uncut network (")
            uncut = rest.partition(")")[0]
            yield (
                f"| {name} (shipped), early exits, {right} right: throughput | the uncut network, {uncut} right | "
                f"{bar['measured']} |"
            )
