"""The README's sections of figures, written from the committed results, so that it quotes nothing else: python -m benchmarks.readme."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from benchmarks import readme_summary

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "anynet.json"
README = ROOT / "README.md"
BEGIN = "<!-- from benchmarks/results/anynet.json by python -m benchmarks.readme -->"
END = "<!-- end of figures -->"
FAMILIES_BEGIN = (
    "<!-- from benchmarks/results/{multiexit,condensenet,oqa}.json by python -m benchmarks.readme -->"
)
FAMILIES_END = "<!-- end of the other families' figures -->"
WEIGHTS_BEGIN = "<!-- from benchmarks/results/accuracy.json and imta.json by python -m benchmarks.readme -->"
WEIGHTS_END = "<!-- end of the shipped weights' figures -->"
LOW_BIT_BAR = 0.5
MATCHING = ("StereoSGBM", "StereoSGBM, widened")
STAGES = ("stage1", "stage2", "stage3", "stage4")


class Time(TypedDict):
    """A time as the benchmark writes it."""

    boundary: str
    median_ms: float


class Accuracy(TypedDict):
    """An accuracy as the benchmark writes it."""

    epe: float
    d1: float
    density: float


class Figure(TypedDict):
    """A bar as the benchmark writes it."""

    what: str
    bar: str
    measured: str
    reached: bool


class Results(TypedDict):
    """The parts of the benchmark's JSON that the README quotes."""

    settings: dict[str, object]
    machine: dict[str, object]
    notes: list[str]
    times: dict[str, Time]
    accuracy: dict[str, dict[str, Accuracy]]
    figures: list[Figure]


def section(results: Results) -> str:
    """The Markdown between the README's two marks."""
    machine, settings = results["machine"], results["settings"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("onnxruntime", "torch", "openvino"))
    lines = [
        BEGIN,
        "",
        f"**Measured** on an {machine['processor']} with {settings['threads']} threads where no row says otherwise, float32, 368x1232 px "
        f"({versions}), in-process monotonic clock. Median of {settings['rounds']} rounds taken in turns; each turn counts the fastest "
        f"of {settings['runs']} runs after one warm-up run:",
        "",
        "| | ms | boundary |",
        "|---|---:|---|",
        *(
            f"| {name} | {time['median_ms']:.1f} | {time['boundary']} |"
            for name, time in results["times"].items()
        ),
        "",
        *(f"- {note}" for note in results["notes"]),
        "",
        "D1 in %: pixels wrong by more than 3 px and 5 %, where a pixel without an answer counts as wrong. **Measured**, each exit "
        "through the bundle:",
        "",
        "| picture | " + " | ".join(_columns(results)) + " |",
        "|---|" + "---:|" * len(_columns(results)),
        *(_row(picture, found, _columns(results)) for picture, found in results["accuracy"].items()),
        "",
        "Targets of the first version:",
        "",
        "| | bar | measured | |",
        "|---|---|---|---|",
        *(
            f"| {f['what']} | {f['bar']} | {f['measured']} | {_verdict(f['reached'])} |"
            for f in results["figures"]
        ),
        "",
        END,
    ]
    return "\n".join(lines)


class Ratio(TypedDict):
    """A bar of the classifiers' benchmarks: a ratio, or ms where it says so."""

    what: str
    bar: float
    measured: float
    reached: bool


class LowBits(TypedDict):
    """The parts of a low-bit subnet's results that the README quotes."""

    figures: dict[str, float]


def families(ratios: list[Ratio], low_bits: dict[str, LowBits]) -> str:
    """The Markdown of the classifiers' bars, between its marks."""
    lines = [FAMILIES_BEGIN, "", "| | bar | measured | |", "|---|---|---|---|"]
    for ratio in ratios:
        lines.append(
            f"| {ratio['what']} | <= {ratio['bar']:.2f} | {ratio['measured']:.2f} | {_verdict(ratio['reached'])} |"
        )
    for name, found in low_bits.items():
        ours, best, openvinos = (
            found["figures"][what]
            for what in ("int8_of_fake_quantised", "choice_of_onnxruntimes_best", "choice_of_openvino_float")
        )
        against = f"{name}: INT8 on the grid / plain fake-quantised export, ONNX Runtime"
        lines += [
            f"| {against} | <= {LOW_BIT_BAR:.3f} | {ours:.3f} | {_verdict(ours <= LOW_BIT_BAR)} |",
            f"| {name}: the measured choice / ONNX Runtime's best of float and post-training INT8 | <= 1.000 | {best:.3f} | {_verdict(best <= 1)} |",
            f"| {name}: the measured choice / OpenVINO's float | <= 1.000 | {openvinos:.3f} | {_verdict(openvinos <= 1)} |",
        ]
    return "\n".join([*lines, "", FAMILIES_END])


def updated(readme: str, results: Results) -> str:
    """The README's text with its sections of figures renewed."""
    before, rest = readme.split(readme_summary.BEGIN)
    short = readme_summary.summary(results, read_ratios(), read_low_bits(), read_bars())
    readme = before + short + rest.split(readme_summary.END)[1]
    before, rest = readme.split(BEGIN)
    readme = before + section(results) + rest.split(END)[1]
    before, rest = readme.split(FAMILIES_BEGIN)
    readme = before + families(read_ratios(), read_low_bits()) + rest.split(FAMILIES_END)[1]
    if WEIGHTS_BEGIN not in readme:
        return readme
    before, rest = readme.split(WEIGHTS_BEGIN)
    return before + shipped_weights(read_bars()) + rest.split(WEIGHTS_END)[1]


def shipped_weights(bars: list[Figure]) -> str:
    """The Markdown of what the shipped weights are worth, between its marks."""
    rows = [f"| {f['what']} | {f['bar']} | {f['measured']} | {_verdict(f['reached'])} |" for f in bars]
    return "\n".join(
        [WEIGHTS_BEGIN, "", "| | bar | measured | |", "|---|---|---|---|", *rows, "", WEIGHTS_END]
    )


def read_bars() -> list[Figure]:
    """The committed bars of the shipped weights, section by section, and of IMTA's comparison where it was run."""
    sections: dict[str, dict[str, list[Figure]]] = json.loads((RESULTS.parent / "accuracy.json").read_text())
    bars = [figure for section in sections.values() for figure in section["figures"]]
    compared = RESULTS.parent / "imta.json"
    return bars + (json.loads(compared.read_text())["figures"] if compared.exists() else [])


def read_ratios() -> list[Ratio]:
    """The committed bars of the multi-exit and CondenseNet benchmarks; what is copied, of the largest network alone."""
    multiexit = json.loads((RESULTS.parent / "multiexit.json").read_text())
    condensenet: list[Ratio] = json.loads((RESULTS.parent / "condensenet.json").read_text())["figures"]
    network = multiexit["settings"]["network"].split(",")[0]
    copied = ("bytes that", "the same, of the graph")
    shown = [
        ratio
        for ratio in condensenet
        if ratio["what"].startswith("CondenseNet-74 C=G=8: ")
        or not ratio["what"].partition(": ")[2].startswith(copied)
    ]
    named: list[Ratio] = multiexit["figures"]
    for ratio in named:
        ratio["what"] = f"{network}: {ratio['what']}"
    return named + shown


def read_low_bits() -> dict[str, LowBits]:
    """The committed results of the low-bit benchmark, by subnet."""
    subnets: dict[str, LowBits] = json.loads((RESULTS.parent / "oqa.json").read_text())["subnets"]
    return subnets


def _verdict(reached: bool) -> str:
    return "reached" if reached else "**not reached**"


def read_results() -> Results:
    """The committed results."""
    results: Results = json.loads(RESULTS.read_text())
    return results


def _columns(results: Results) -> list[str]:
    present = {name for found in results["accuracy"].values() for name in found}
    wanted = [f"{weights} {stage}" for weights in ("kitti", "shipped") for stage in STAGES] + list(MATCHING)
    return [name for name in wanted if name in present]


def _row(picture: str, found: dict[str, Accuracy], columns: list[str]) -> str:
    cells = (f"{found[name]['d1']:.1f}" if name in found else "" for name in columns)
    return f"| {picture} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(), read_results()))
