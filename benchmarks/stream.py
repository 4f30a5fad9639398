"""A camera's stream beside a neighbour that comes and goes: how old answers are, and what the loops that people write make of it.

python -m benchmarks.stream --out bench --resume     # 10 minutes of edgekit's stream at either priority, 2 of each rival: 26
python -m benchmarks.stream --out bench --priority realtime --rival-minutes 1     # 13
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.interpreters import pythons
from benchmarks.machine import describe
from benchmarks.neighbour import Neighbour, cores
from benchmarks.stream_subjects import DRIVER_BUFFERS, Inputs, Slice, Subject, looped, streamed
from edgekit.bundle import read_bundle
from edgekit.errors import OptionError
from edgekit.runtime.device.system import others_busy, read_busy, resident_memory_bytes
from edgekit.runtime.policies import FixedStage
from edgekit.runtime.session import Session
from edgekit.runtime.stream import source_of
from edgekit.runtime.verbs.inputs import golden_pictures

RATE, BUDGET_MS = 30.0, 33.0
# The neighbour takes every core for so long, and leaves for so long.
SWITCH_S = 5.0
OURS, URGENT = "stream", "stream, realtime priority"
NAIVE, NEWEST, EARLY = "naive full network", "full network, newest frame", "first stage, newest frame"
# AnyNet at KITTI's size: all of it fits into a frame here while it is alone, and does not beside a neighbour.
SIZE = (368, 1232)
# No answer may be of a frame further back than this.
BACK = 2
AGE_MS, TIMES = 40.0, 5.0


def main() -> int:
    """Measure what is still missing, and write the summary."""
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "stream_slices.json"
    slices: list[dict[str, object]] = json.loads(kept.read_text()) if args.resume and kept.exists() else []
    for path in args.bundle or exported(args.out):
        measure(path, args, slices, kept)
    document = summary(slices, args)
    (args.out / "stream.json").write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(table(document)))
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", action="append", metavar="PATH", help="by default AnyNet at KITTI's size")
    parser.add_argument("--minutes", type=float, default=10.0, help="of edgekit's stream, at either priority")
    parser.add_argument(
        "--priority", choices=["normal", "realtime"], help="only this one's stream; default: both"
    )
    parser.add_argument("--rival-minutes", type=float, default=2.0, help="of every rival")
    parser.add_argument("--slice", type=float, default=30.0, help="seconds; ways take turns after so many")
    parser.add_argument(
        "--source", metavar="FOLDER", help="recorded frames; by default the bundle's own pair, moved about"
    )
    parser.add_argument("--no-neighbour", action="store_true", help="on a quiet machine")
    parser.add_argument("--threads", type=int, help="of a stage")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--resume", action="store_true", help="go on where --out was left")
    return parser.parse_args()


def exported(out: Path) -> list[str]:
    """AnyNet with the shipped weights."""
    import edgekit

    path = out / "anynet_{}x{}.edgekit".format(*SIZE)
    if not path.exists():
        edgekit.export(model="anynet", target="jetson", size=SIZE, out=str(path))
    return [str(path)]


def measure(path: str, args: argparse.Namespace, slices: list[dict[str, object]], kept: Path) -> None:
    """The slices of one bundle that are not there yet, the ways in turns."""
    bundle = read_bundle(path)
    name = Path(path).name
    frames = recorded_frames(
        args.source, [spec.name for spec in bundle.manifest.inputs], golden_pictures(bundle)
    )
    first = bundle.manifest.stages[0].name
    with ExitStack() as stack:

        def session(*policies: FixedStage, priority: str = "normal") -> Session:
            opened = Session.open(path, threads=args.threads, policies=policies, priority=priority)
            return stack.enter_context(opened)

        full = session()
        subjects: dict[str, Subject] = {
            NAIVE: looped(full, frames, RATE, BUDGET_MS, DRIVER_BUFFERS),
            NEWEST: looped(full, frames, RATE, BUDGET_MS, 1),
            EARLY: looped(session(FixedStage(first)), frames, RATE, BUDGET_MS, 1),
        }
        if args.priority in (None, "normal"):
            subjects[OURS] = streamed(session(), frames, RATE, BUDGET_MS)
        if args.priority in (None, "realtime"):
            try:
                subjects[URGENT] = streamed(session(priority="realtime"), frames, RATE, BUDGET_MS)
            except OptionError as error:
                print(f"{URGENT} is left out: {error}", file=sys.stderr)
        for turn, subject in turns(args, list(subjects)):
            if any((one["bundle"], one["turn"], one["subject"]) == (name, turn, subject) for one in slices):
                continue
            found = watched(subjects[subject], args)
            slices.append({"bundle": name, "turn": turn, "subject": subject, **found})
            kept.write_text(json.dumps(slices))
            ages = np.asarray(found["ages"])
            print(
                f"{name} {turn} {subject}: p99 {np.percentile(ages, 99):.1f} ms", file=sys.stderr, flush=True
            )


def turns(args: argparse.Namespace, ways: Sequence[str]) -> list[tuple[int, str]]:
    """Which way has which turn: the rivals between those of the stream, so that all see the same day."""
    ours = max(round(args.minutes * 60 / args.slice), 1)
    theirs = max(round(args.rival_minutes * 60 / args.slice), 1)
    order: list[tuple[int, str]] = []
    for turn in range(ours):
        order += [(turn, way) for way in ways if way in (OURS, URGENT)]
        begun, over = (number * theirs // ours for number in (turn, turn + 1))
        order += [(done, way) for done in range(begun, over) for way in ways if way not in (OURS, URGENT)]
    return order


def watched(subject: Subject, args: argparse.Namespace) -> dict[str, object]:
    """One slice, with what the process and the machine did meanwhile."""
    with Neighbour(0 if args.no_neighbour else cores(), min(SWITCH_S, args.slice / 4)):
        busy, used, since = read_busy(), time.process_time(), time.perf_counter()
        found: Slice = subject(args.slice)
        found.seconds = time.perf_counter() - since
        found.cpu = (time.process_time() - used) / found.seconds
        others = others_busy(busy, read_busy())
    found.resident = resident_memory_bytes()
    found.pid = os.getpid()
    return {**found.to_json(), "others": others}


def recorded_frames(folder: str | None, names: Sequence[str], golden: Inputs) -> list[Inputs]:
    """Frames in memory: those of a folder, or the golden pictures rolled by some columns each."""
    if folder is None:
        return [
            {name: np.roll(picture, 8 * step, axis=1) for name, picture in golden.items()}
            for step in range(16)
        ]
    source = source_of([folder], names)
    source.open()
    frames: list[Inputs] = []
    while (seen := source.read()) is not None:
        frames.append(seen.inputs)
    return frames


def summary(slices: Sequence[Mapping[str, object]], args: argparse.Namespace) -> dict[str, object]:
    """All that was measured, per bundle and way, and what the bars say of it."""
    bundles: dict[str, dict[str, object]] = {}
    for name in dict.fromkeys(str(one["bundle"]) for one in slices):
        ways = {
            way: whole([one for one in slices if one["bundle"] == name and one["subject"] == way])
            for way in dict.fromkeys(str(one["subject"]) for one in slices if one["bundle"] == name)
        }
        ours = [way for way in (OURS, URGENT) if way in ways]
        bundles[name] = {"ways": ways, "bars": {way: bars(ways, way) for way in ours}}
    return {
        "what": f"{RATE:g} frames/s from memory, budget {BUDGET_MS:g} ms, "
        + (
            "no neighbour"
            if args.no_neighbour
            else f"stress-ng on every core, {SWITCH_S:g} s on and {SWITCH_S:g} s off"
        ),
        "clock": "in-process monotonic; age: from the instant a frame was seen to its answer's being handed on",
        "asked_for_minutes": {"stream": args.minutes, "rivals": args.rival_minutes},
        "machine": describe(args.threads or cores()),
        "bundles": bundles,
        "machinery": [machinery(python) for python in pythons()],
    }


def whole(slices: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The slices of one way, as one."""

    def all_of(key: str) -> np.ndarray:
        return np.concatenate([np.asarray(one[key], np.float64) for one in slices])

    def total(key: str) -> float:
        return float(sum(float(str(one[key])) for one in slices))

    behind = all_of("behind")
    exits: dict[str, int] = {}
    for one in slices:
        counted = one["exits"]
        assert isinstance(counted, dict)
        for stage, number in counted.items():
            exits[stage] = exits.get(stage, 0) + number
    seconds = total("seconds")
    same = [one for one in slices if one["pid"] == slices[-1]["pid"]]
    resident = [float(str(one["resident"])) / 1e6 for one in same if one["resident"]]
    return {
        "minutes": seconds / 60,
        "frames": int(total("frames")),
        "answered": len(all_of("ages")),
        "dropped": int(total("dropped")),
        "missed": int(total("missed")),
        "age_ms": spread(all_of("ages")),
        "first_age_ms": spread(all_of("first_ages")),
        "renewed_age_ms": spread(all_of("renewed")),
        "frames_without_answer_newer_than_2": int((behind > BACK).sum()),
        "most_frames_behind": int(behind.max()) if len(behind) else None,
        "exits": exits,
        "cpu_cores": sum(float(str(one["cpu"])) * float(str(one["seconds"])) for one in slices) / seconds,
        # At the end of every slice of one process, so that what the first one allocates is no growth.
        "memory_mb": [round(one, 1) for one in resident],
        "memory_growth_share": resident[-1] / resident[0] - 1 if len(resident) > 1 else None,
        "memory_growth_minutes": sum(float(str(one["seconds"])) for one in same[1:]) / 60,
    }


def memory(one: Mapping[str, object]) -> list[str]:
    """What became of the process's memory while a way had its slices; nothing where there was but one."""
    growth, listed = one["memory_growth_share"], one["memory_mb"]
    if not isinstance(growth, float) or not isinstance(listed, list):
        return []
    thinned = listed[:: max(len(listed) // 10, 1)]
    said = f"memory {growth:+.2%} in {one['memory_growth_minutes']:.1f} minutes"
    return [f"{said}: MB {' '.join(f'{value:.0f}' for value in [*thinned, listed[-1]])}"]


def spread(values: np.ndarray) -> dict[str, float | None]:
    """Median, 99th percentile and largest; None of nothing."""
    if not len(values):
        return {"p50": None, "p99": None, "max": None}
    return {
        "p50": float(np.percentile(values, 50)),
        "p99": float(np.percentile(values, 99)),
        "max": float(values.max()),
    }


def bars(ways: Mapping[str, Mapping[str, object]], ours: str) -> list[dict[str, object]]:
    """What must be reached, what was, and whether it was."""

    def p99(way: str, key: str = "age_ms") -> float:
        found = ways[way][key]
        assert isinstance(found, dict)
        return float(found["p99"])

    behind = ways[ours]["frames_without_answer_newer_than_2"]
    fits = p99(EARLY) <= AGE_MS
    times = p99(NAIVE) / p99(ours)
    too_big = p99(NEWEST) > 1e3 / RATE
    return [
        {"what": "frames without an answer newer than 2 frames", "bar": 0, "reached": behind, "held": behind == 0},
        {"what": "age p99, ms", "bar": AGE_MS, "reached": p99(ours), "held": p99(ours) <= AGE_MS,
         "applies": fits, "why": f"the first stage alone has {p99(EARLY):.1f}"},
        {"what": "p99 age of the naive loop, times ours", "bar": TIMES, "reached": times, "held": times >= TIMES,
         "applies": too_big, "why": f"the full network has a p99 of {p99(NEWEST):.1f} ms of a frame's {1e3 / RATE:.1f}"},
    ]  # fmt: skip


def machinery(python: str) -> dict[str, object]:
    """What `benchmarks.stream_machinery` measures under an interpreter."""
    root = Path(__file__).resolve().parent.parent
    process = subprocess.run(
        [python, "-m", "benchmarks.stream_machinery"], cwd=root, check=True, stdout=subprocess.PIPE
    )
    measured: dict[str, object] = json.loads(process.stdout)
    return measured


def table(document: Mapping[str, object]) -> list[str]:
    """The summary for people."""
    lines = [str(document["what"])]
    bundles = document["bundles"]
    assert isinstance(bundles, dict)
    for name, found in bundles.items():
        lines += ["", name]
        for way, one in found["ways"].items():
            age = one["age_ms"]
            exits = " ".join(f"{stage}:{number}" for stage, number in sorted(one["exits"].items()))
            lines.append(
                f"  {way:28} {one['minutes']:5.1f} min  age p50 {age['p50']:6.1f} p99 {age['p99']:6.1f} max {age['max']:6.1f} ms"
                f"  dropped {one['dropped']} of {one['frames']}  missed {one['missed']}  >2 behind"
                f" {one['frames_without_answer_newer_than_2']}  cpu {one['cpu_cores']:.2f}  {exits}"
            )
            lines += [f"  {'':28} {said}" for said in memory(one)]
        for way, listed in found["bars"].items():
            for bar in listed:
                verdict = "reached" if bar["held"] else "NOT REACHED"
                verdict += "" if bar.get("applies", True) else " (does not apply: " + bar["why"] + ")"
                lines.append(
                    f"  {way}: {bar['what']}: bar {bar['bar']}, reached {bar['reached']:.1f}: {verdict}"
                )
    machineries = document["machinery"]
    assert isinstance(machineries, list)
    for one in machineries:
        lines.append(f"machinery, Python {one['python']}: CPU {one['cpu_ms_per_frame']:.2f} ms a frame")
    return lines


if __name__ == "__main__":
    sys.exit(main())
