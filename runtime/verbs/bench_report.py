"""What `edgekit bench` found, as one document and as a report: settings, tables, what the columns mean, warnings."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit.runtime.device.fingerprint import UNKNOWN, Fingerprint
from edgekit.runtime.device.system import Processors
from edgekit.runtime.measurement import Frame, Paced, exit_summaries, model_summaries, stage_summaries
from edgekit.runtime.report import milliseconds, table
from edgekit.runtime.statistics import Summary, summarize
from edgekit.runtime.verbs.bench_data import Judged
from edgekit.runtime.verbs.bench_data import to_lines as judged_lines
from edgekit.runtime.verbs.bench_device import Device, device_lines

FIGURES = ("min", "mean", "p50", "p90", "p99", "max")
BOUNDARIES = {
    "stage": "one graph's execution, from tensors that are there to tensors that are there",
    "model": "every stage up to the exit, summed within each frame",
    "end to end": "from the call with uint8 pictures to the answer at the pictures' size: preprocessing, every stage up to"
    " the exit, scheduling and postprocessing; reading files is not in it",
}


class Settings(NamedTuple):
    """Under what the figures were measured: without these they mean nothing.

    ``networks`` says which network each stage is of, where there are several; ``guess``, where predictions came from that were
    not measured here.
    """

    bundle: str
    network: str
    backend: str
    backend_settings: Mapping[str, object]
    variants: Mapping[str, str]
    fingerprint: Fingerprint
    inputs: str
    runs: int
    warmup: int
    processors: Processors
    edgekit: str
    networks: Mapping[str, str]
    guess: Optional[str] = None
    clock: str = "monotonic (time.perf_counter)"


class Budgeted(NamedTuple):
    """Frames that were answered within a budget: how long each took, which stage answered, how many were too late."""

    budget_ms: float
    elapsed_ms: Tuple[float, ...]
    answered: Mapping[str, int]
    missed: int


class Gate(NamedTuple):
    """The limit that was asked for, and what was measured against it."""

    max_p99_ms: float
    measured_p99_ms: float
    of: str

    @property
    def passed(self) -> bool:
        """Whether the limit was kept."""
        return self.measured_p99_ms <= self.max_p99_ms


class Report(NamedTuple):
    """Everything that one call of `bench` found.

    ``timed`` are median ms per stage and variant where these were compared.
    ``memory_before`` is the process's memory in bytes before loading, ``memory_peak`` the most since then;
    ``others_busy`` is how many CPUs other programs used meanwhile; each is None where the system does not tell.
    """

    settings: Settings
    load_ms: float
    memory_before: Optional[int]
    memory_peak: Optional[int]
    others_busy: Optional[float]
    frames: Tuple[Frame, ...]
    paced: Optional[Paced]
    budgeted: Optional[Budgeted]
    timed: Mapping[str, Mapping[str, float]]
    gate: Optional[Gate]
    profile: Optional[str]
    judged: Optional[Judged]
    device: Device
    warnings: Tuple[str, ...]


def to_document(report: Report) -> Dict[str, object]:
    """The JSON document."""
    networks = report.settings.networks
    ends, models = exit_summaries(report.frames), model_summaries(report.frames, networks)
    settings = report.settings._asdict()
    settings["processors"] = report.settings.processors._asdict()
    settings["fingerprint"] = {
        name: None if value == UNKNOWN else value
        for name, value in report.settings.fingerprint._asdict().items()
    }
    settings["boundaries"] = BOUNDARIES
    return {
        "settings": settings,
        "load_ms": report.load_ms,
        "memory_before_load_bytes": report.memory_before,
        "memory_peak_bytes": report.memory_peak,
        "others_busy_cpus": report.others_busy,
        "stages": {name: summary.to_json() for name, summary in stage_summaries(report.frames).items()},
        "exits": {
            name: {
                "model": models[name].to_json(),
                "end_to_end": dict(end.to_json(), fps=1e3 / end.mean),
                "energy": report.device.energy_json(name),
            }
            for name, end in ends.items()
        },
        "variants_p50_ms": {stage: dict(medians) for stage, medians in report.timed.items()},
        "paced": None if report.paced is None else _paced_json(report.paced),
        "budgeted": None if report.budgeted is None else _budgeted_json(report.budgeted),
        "gate": None if report.gate is None else dict(report.gate._asdict(), passed=report.gate.passed),
        "profile": report.profile,
        "early_exits": None if report.judged is None else report.judged.to_json(),
        "device": report.device.to_json(),
        "warnings": list(report.warnings),
    }


def to_lines(report: Report) -> List[str]:
    """The report for people."""
    blocks = [_settings(report)]
    if report.timed:
        blocks.append(_variants(report))
    blocks += [_stages(report), _exits(report)]
    if report.paced is not None:
        blocks.append(_paced(report.paced, report.frames))
    if report.budgeted is not None:
        blocks.append(_budgeted(report.budgeted))
    if report.judged is not None:
        blocks.append(judged_lines(report.judged))
    blocks += [device_lines(report.device), _explanation(report)]
    if report.gate is not None:
        verdict = "passed" if report.gate.passed else "FAILED"
        gate = report.gate
        blocks.append(
            [
                f"gate: p99 of {gate.of} {gate.measured_p99_ms:.2f} ms, at most {gate.max_p99_ms:g} ms allowed: {verdict}"
            ]
        )
    blocks.append(
        [f"! {warning}" for warning in report.warnings] or ["No reason found to doubt these figures."]
    )
    return [line for number, block in enumerate(blocks) for line in ([""] if number else []) + block]


def _settings(report: Report) -> List[str]:
    settings = report.settings
    processors = settings.processors
    pairs = [
        ("bundle", f"{settings.bundle} ({settings.network})"),
        ("backend", f"{settings.backend}, {_pairs(settings.backend_settings)}"),
        ("variants", _pairs(settings.variants)),
        ("fingerprint", settings.fingerprint.key),
        (
            "processor",
            f"{processors.model or 'unknown'}, {processors.usable} usable, governor {'/'.join(processors.governors) or 'unknown'}",
        ),
        *([("profile", settings.guess)] if settings.guess is not None else []),
        ("input", settings.inputs),
        ("frames", f"{settings.runs} measured after {settings.warmup} of warm-up, one right after the other"),
        ("clock", settings.clock),
        ("load time", f"{report.load_ms:.0f} ms (files checked, graphs made ready)"),
        (
            "peak memory",
            f"{_megabytes(report.memory_peak)} of the whole process, {_megabytes(report.memory_before)} before loading",
        ),
    ]
    return [f"{name.ljust(12)} {text}" for name, text in pairs]


def _variants(report: Report) -> List[str]:
    rows: List[List[str]] = []
    for stage, medians in report.timed.items():
        if len(medians) > 1:
            order = sorted(medians, key=lambda name: medians[name])
            for name in order:
                taken = "<-" if report.settings.variants[stage] == name else ""
                rows.append([stage if name == order[0] else "", name, milliseconds(medians[name]), taken])
    return [
        "Equal graphs in turns, median ms (boundary: stage)",
        *table(["stage", "variant", "p50", ""], rows, left=2),
    ]


def _stages(report: Report) -> List[str]:
    summaries, networks = stage_summaries(report.frames), report.settings.networks
    whole: Dict[str, float] = {}
    for name, summary in summaries.items():
        network = networks.get(name, "")
        whole[network] = whole.get(network, 0.0) + summary.mean
    rows = [
        [
            _named(name, networks),
            *_figures(summary),
            f"{100 * summary.mean / whole[networks.get(name, '')]:.1f} %",
        ]
        for name, summary in summaries.items()
    ]
    return ["Stages, ms (boundary: stage)", *table(["stage", *FIGURES, "share"], rows)]


def _exits(report: Report) -> List[str]:
    networks = report.settings.networks
    ends, models = exit_summaries(report.frames), model_summaries(report.frames, networks)
    rows = []
    for name, end in ends.items():
        rows.append([_named(name, networks), "model", *_figures(models[name]), None])
        rows.append(["", "end to end", *_figures(end), f"{1e3 / end.mean:.1f}"])
    return ["Until each exit, ms", *table(["exit", "boundary", *FIGURES, "FPS"], rows, left=2)]


def _named(stage: str, networks: Mapping[str, str]) -> str:
    return f"{stage} ({networks[stage]})" if stage in networks else stage


def _paced(paced: Paced, frames: Sequence[Frame]) -> List[str]:
    tight = summarize([frame.total_ms for frame in frames])
    own = summarize([frame.total_ms for frame in paced.frames])
    rows = [
        ["one right after the other", *_figures(tight)],
        [f"paced, {paced.rate:g} a second", *_figures(own)],
        ["  from arrival to answer", *_figures(summarize(paced.latency_ms))],
    ]
    share = 100.0 * (own.p50 / tight.p50 - 1.0)
    return [
        f"Frames at {paced.rate:g} a second, ms (boundary: end to end)",
        *table(["frames", *FIGURES], rows),
        f"The gaps between frames change the median by {share:+.0f} %. Of {len(paced.frames)} frames answered {paced.late}"
        f" were late (the next had come), {paced.dropped} were dropped.",
    ]


def _budgeted(budgeted: Budgeted) -> List[str]:
    total = len(budgeted.elapsed_ms)
    answered = ", ".join(
        f"{stage} {100 * number / total:.0f} %" for stage, number in budgeted.answered.items()
    )
    rows = [[f"{budgeted.budget_ms:g} ms", *_figures(summarize(budgeted.elapsed_ms)), budgeted.missed]]
    return [
        "Within the budget, ms (boundary: end to end)",
        *table(["budget", *FIGURES, "missed"], rows),
        f"Answered by: {answered}.",
    ]


def _explanation(report: Report) -> List[str]:
    lines = [f"{name}: {meaning}." for name, meaning in BOUNDARIES.items()]
    lines.append(
        "p99: 99 of 100 frames took at most this long; what a deadline is planned with. FPS: 1000 / mean end to end."
    )
    if report.paced is not None:
        lines.append(
            "paced: the processor idles between frames, as on the robot; its clocks may fall meanwhile."
        )
    if report.profile is not None:
        lines.append(f"These times are kept as this device's profile: {report.profile}")
    return lines


def _paced_json(paced: Paced) -> Dict[str, object]:
    return {
        "rate_hz": paced.rate,
        "end_to_end": summarize([frame.total_ms for frame in paced.frames]).to_json(),
        "arrival_to_answer": summarize(paced.latency_ms).to_json(),
        "late": paced.late,
        "dropped": paced.dropped,
    }


def _budgeted_json(budgeted: Budgeted) -> Dict[str, object]:
    return {
        "budget_ms": budgeted.budget_ms,
        "end_to_end": summarize(budgeted.elapsed_ms).to_json(),
        "answered": dict(budgeted.answered),
        "missed": budgeted.missed,
    }


def _figures(summary: Summary) -> List[str]:
    return [milliseconds(getattr(summary, name)) for name in FIGURES]


def _pairs(mapping: Mapping[str, object]) -> str:
    words = []
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            words += [f"{key} {one}" for key, one in value.items()]
        else:
            words.append(
                "{} {}".format(name, "/".join(map(str, value)) if isinstance(value, (list, tuple)) else value)
            )
    return ", ".join(words)


def _megabytes(value: Optional[int]) -> str:
    return "unknown" if value is None else f"{value / 1e6:.0f} MB"
