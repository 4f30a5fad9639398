"""Fits `edgekit estimate` to published latencies, and predicts those it was not shown: python -m benchmarks.estimate [--write].

Every figure here is predicted or published; none was measured by edgekit. Four ways to hold records out, each with a fit of its own
that saw none of them: one network on every module (leave one network out), a whole family of networks, a whole module, and a fixed
quarter of the networks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from benchmarks.published.records import Record, sketch, usable
from edgekit.export.estimate import roofline
from edgekit.export.estimate.hardware import MODULES, Hardware, hardware
from edgekit.export.estimate.roofline import KINDS, UNITS, Coefficients, Kernels, kernels, milliseconds
from edgekit.export.estimate.work import work_of

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "estimate.json"
TARGETS = {
    "TX2": "jetson-tx2", "Nano": "jetson-nano", "AGX Xavier": "jetson-xavier", "Xavier NX": "jetson-xavier-nx", "AGX Orin": "jetson-orin"
}  # fmt: skip
# Where the fit begins and how far it may go without evidence: guesses from the data sheets' point of view, and standard deviations
# of their logarithms. A network of a fifth more than predicted counts as one standard deviation.
EFFICIENCY = {
    "winograd": 0.8, "pointwise": 0.4, "spatial": 0.4, "first": 0.25, "depthwise": 0.05, "matrix": 0.4, "memory": 0.6
}  # fmt: skip
LAUNCH_US = {"TX2": 20.0, "Nano": 20.0, "AGX Xavier": 10.0, "Xavier NX": 10.0, "AGX Orin": 6.0}
GAIN, FILLING, CALL_MS = 0.8, 0.5, 0.1
SPREAD = {"efficiency": 0.7, "launch": 0.5, "gain": 0.3, "filling": 0.7, "call": 1.0, "pace": 0.15}
NOISE = 0.2
STEPS = 40


@dataclass(frozen=True)
class Known:
    """A record with its network's kernels and its module."""

    record: Record
    table: Kernels
    on: Hardware


@dataclass(frozen=True)
class Fit:
    """What fits the records: the coefficients, and by source what a call costs beside its kernels (ms), and how fast clocks ran.

    Most sources do not say in which power mode they measured, so each has a pace of its own, near 1; a source that the fit has not
    seen has 1.
    """

    coefficients: Coefficients
    call_ms: dict[str, float]
    pace: dict[str, float]

    def predict(self, known: Known) -> float:
        """Milliseconds of a record."""
        source = known.record.source_name
        total = float(milliseconds(known.table, known.on, known.record.precision, self.coefficients).sum())
        return (total + self.call_ms.get(source, CALL_MS)) * self.pace.get(source, 1.0)


def load(shared: Path) -> tuple[list[Known], dict[str, int]]:
    """The records that can be compared, and how many others there are by why they cannot."""
    records, left = usable(shared)
    tables: dict[tuple[str, int, int], Kernels] = {}
    for one in records:
        key = (one.network, one.height, one.width)
        if key not in tables:
            tables[key] = kernels(work_of(sketch(one)))
    found = [
        Known(one, tables[one.network, one.height, one.width], hardware(TARGETS[one.device]))
        for one in records
    ]
    return found, left


def fit(records: Sequence[Known]) -> Fit:
    """Least squares of logarithms, drawn to the guesses where records say little."""
    sources = sorted({one.record.source_name for one in records})
    start, spread = _prior(len(sources))
    published = np.log([one.record.milliseconds for one in records])

    def residuals(theta: np.ndarray) -> np.ndarray:
        found = _fit_of(theta, sources)
        predicted = np.log([found.predict(one) for one in records])
        return np.concatenate([(predicted - published) / NOISE, (theta - start) / spread])

    solved = least_squares(residuals, start, loss="soft_l1", max_nfev=STEPS)
    return _fit_of(solved.x, sources)


def _prior(sources: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        ("efficiency", np.tile(list(EFFICIENCY.values()), len(UNITS))),
        ("launch", np.array(list(LAUNCH_US.values()))),
        ("gain", np.full(len(UNITS), GAIN)),
        ("filling", np.full(len(UNITS), FILLING)),
        ("call", np.full(sources, CALL_MS)),
        ("pace", np.ones(sources)),
    ]
    start = np.log(np.concatenate([values for _, values in parts]))
    return start, np.concatenate([np.full(len(values), SPREAD[name]) for name, values in parts])


def _fit_of(theta: np.ndarray, sources: Sequence[str]) -> Fit:
    values, kinds, many = np.exp(theta), len(UNITS) * len(KINDS), len(sources)
    efficiency, launch, gain, filling, call, pace = np.split(
        values, np.cumsum([kinds, len(LAUNCH_US), len(UNITS), len(UNITS), many])
    )
    modules = [MODULES[TARGETS[device]] for device in LAUNCH_US]
    return Fit(
        Coefficients(
            efficiency.reshape(len(UNITS), -1),
            gain,
            filling,
            dict(zip(modules, launch.tolist(), strict=True)),
        ),
        dict(zip(sources, call.tolist(), strict=True)),
        dict(zip(sources, pace.tolist(), strict=True)),
    )


def held_out(records: Sequence[Known], group: Callable[[Record], str]) -> np.ndarray:
    """Predicted over published time of every record, by a fit that has seen nothing of its group."""
    ratios = np.zeros(len(records))
    for name in sorted({group(one.record) for one in records}):
        inside = np.array([group(one.record) == name for one in records])
        fitted = fit([one for one, out in zip(records, inside, strict=True) if not out])
        for k in np.flatnonzero(inside).tolist():
            ratios[k] = fitted.predict(records[k]) / records[k].record.milliseconds
    return ratios


def in_fixed_quarter(record: Record) -> bool:
    """Whether a network is of the quarter that is held out for good: by the SHA-256 of its name."""
    return hashlib.sha256(record.network.encode("ascii")).digest()[0] % 4 == 0


def errors(ratios: np.ndarray) -> dict[str, float]:
    """Median relative error and share within a factor of 2, of ratios of predicted to published times."""
    return {
        "records": len(ratios),
        "median_relative_error": round(float(np.median(np.abs(ratios - 1.0))), 4),
        "within_2x": round(float(np.mean(np.abs(np.log(ratios)) <= np.log(2.0))), 4),
    }


def calibrate(shared: Path) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The document that `edgekit estimate` reads, and one row a record."""
    records, left = load(shared)
    fitted = fit(records)
    by = {
        "network": held_out(records, lambda record: record.network),
        "family": held_out(records, lambda record: record.family),
        "module": held_out(records, lambda record: record.device),
    }
    quarter = np.array([in_fixed_quarter(one.record) for one in records])
    unseen = fit([one for one, out in zip(records, quarter, strict=True) if not out])
    fixed = np.array(
        [
            unseen.predict(one) / one.record.milliseconds
            for one, out in zip(records, quarter, strict=True)
            if out
        ]
    )
    c = fitted.coefficients
    low, high = np.quantile(1.0 / np.concatenate([by["family"], by["module"]]), [0.1, 0.9])
    document: dict[str, object] = {
        "what": "fitted to published latencies by python -m benchmarks.estimate; nothing here was measured by edgekit",
        "records": len(records),
        "sources": sorted({one.record.source for one in records}),
        "left_out": left,
        "held_out": {
            **{name: errors(ratios) for name, ratios in by.items()},
            "fixed quarter of the networks": errors(fixed),
        },
        "published_over_predicted_of_8_in_10": [round(float(low), 3), round(float(high), 3)],
        "fitted": {
            "efficiency": {
                unit: {kind: _short(c.efficiency[u, k]) for k, kind in enumerate(KINDS)}
                for u, unit in enumerate(UNITS)
            },
            "gain_of_fewer_bits": {unit: _short(value) for unit, value in zip(UNITS, c.halves, strict=True)},
            "half_filled_at_blocks": {
                unit: _short(value) for unit, value in zip(UNITS, c.filling, strict=True)
            },
            "launch_us": {module: _short(value) for module, value in c.launch_us.items()},
            "call_ms_by_source": {name: _short(value) for name, value in fitted.call_ms.items()},
            "pace_by_source": {name: _short(value) for name, value in fitted.pace.items()},
        },
    }
    rows = [
        {
            **asdict(one.record),
            "predicted_ms_by_held_out": {
                name: round(float(ratios[k]) * one.record.milliseconds, 3) for name, ratios in by.items()
            },
            "in_fixed_quarter": bool(quarter[k]),
        }
        for k, one in enumerate(records)
    ]
    return document, rows


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the errors; with ``--write``, keep the fit where `edgekit estimate` reads it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="the folder with facts/")
    parser.add_argument(
        "--write", action="store_true", help=f"write {roofline.FACTS.name} and {RESULTS.name}"
    )
    args = parser.parse_args(arguments)
    document, rows = calibrate(args.shared)
    print(f"{document['records']} published latencies; others were left out: {document['left_out']}")
    print("predicted against published, of records that the fit had not seen:")
    held = document["held_out"]
    assert isinstance(held, dict)
    for name, found in held.items():
        error, within = 100 * found["median_relative_error"], 100 * found["within_2x"]
        print(
            f"  held out by {name}: {found['records']} records, median error {error:.1f} %, {within:.0f} % within 2x"
        )
    if args.write:
        roofline.FACTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        RESULTS.write_text(
            json.dumps({"what": document["what"], "records": rows}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
