"""AnyNet's shipped weights on real pairs: error against ms at every exit, with OpenCV's StereoSGBM beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

import edgekit
from benchmarks import ours
from benchmarks.accuracy import Context, Section
from benchmarks.anynet import SIZE, Settings, errors, normalised, resized
from benchmarks.figures import ALL_STAGES, MATCHING, Accuracy, Figure
from benchmarks.plot import Point, error_against_time
from benchmarks.timing import interleave, whole
from edgekit.models.anynet import build
from edgekit.models.evaluate_stereo import load_pairs
from edgekit.runtime.page.matching import BlockMatching

SHARE = 0.6  # of StereoSGBM's D1, holes counted wrong


def measure(context: Context) -> Section:
    """Every pair's errors, and the times on the first."""
    cv2.setNumThreads(context.threads)
    pairs = load_pairs(context.shared / "data/stereo")
    settings = Settings(context.threads, context.rounds, context.runs, False)
    found = {pair.name: errors(pair, {"shipped": None}, settings, context.scratch) for pair in pairs}
    left, right = (resized(view) for view in (pairs[0].left, pairs[0].right))
    spec = build(None, {}, SIZE).inputs[0]
    a, b = (normalised(view, spec.mean, spec.std) for view in (left, right))
    out = context.scratch / f"shipped-{SIZE[0]}x{SIZE[1]}.edgekit"
    if not out.exists():
        ours.export(None, SIZE, out)
    matching = BlockMatching()
    with edgekit.load(str(out), threads=context.threads) as session:
        contenders = {
            "stages": ours.stages_timed(session, a, b),
            MATCHING: whole(MATCHING, lambda: matching(left, right)),
        }
        times = interleave(contenders, context.rounds, context.runs)
    reached = {stage: times.median(*ALL_STAGES[: k + 1]) for k, stage in enumerate(ALL_STAGES)}
    of_matching = times.ratio(ALL_STAGES, [MATCHING])
    result: dict[str, object] = {
        "size": list(SIZE),
        "reached_ms": reached,
        "matching_ms": times.median(MATCHING),
        "pairs": {name: {who: asdict(one) for who, one in each.items()} for name, each in found.items()},
    }

    def draw(path: Path) -> None:
        line = [Point(stage, ms, _mean(found, f"shipped {stage}")) for stage, ms in reached.items()]
        peer = Point(f"OpenCV {MATCHING}", times.median(MATCHING), _mean(found, MATCHING))
        error_against_time(
            {"the shipped weights": line}, [peer], f"mean of {', '.join(found)} (measured)", path
        )

    bars = [
        Figure(
            f"anynet, {name}: last exit's D1 against StereoSGBM's, holes counted wrong", f"<= {SHARE}x",
            f"{_share(each):.2f}x", _share(each) <= SHARE,
        )
        for name, each in found.items()
    ]  # fmt: skip
    bars.append(
        Figure("anynet: all stages against StereoSGBM, time", "< 1x", f"{of_matching:.2f}x", of_matching < 1)
    )
    return Section(result, bars, draw)


def _mean(found: dict[str, dict[str, Accuracy]], who: str) -> float:
    return float(np.mean([each[who].d1 for each in found.values()]))


def _share(each: dict[str, Accuracy]) -> float:
    return each[f"shipped {ALL_STAGES[-1]}"].d1 / each[MATCHING].d1
