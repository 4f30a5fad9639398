"""The multi-exit benchmark's contenders by name, and what their times must be at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.timing import Times

EAGER, PLAIN, OPENVINO, MNN = "PyTorch eager", "plain, ONNX Runtime", "plain, OpenVINO", "plain, MNN"
EARLYON, EARLYON_FIRST = "earlyon, every exit", "earlyon, first exit"
UNCUT, INFER, CALIBRATED = "edgekit, uncut graph", "edgekit, infer", "edgekit, stages"
NATIVE_UNCUT, NATIVE = "edgekit, native, uncut", "edgekit, native, infer"
NATIVES = "native "  # before the names of native's stages


@dataclass(frozen=True)
class Figure:
    """One bar: what was measured, and what it must be at most."""

    what: str
    measured: float
    bar: float

    @property
    def reached(self) -> bool:
        return self.measured <= self.bar


def stage_names(times: Times, before: str = "") -> list[str]:
    return [name for name in times.rounds if name.startswith(before + "stage")]


def figures(times: Times, shares: Sequence[float]) -> list[Figure]:
    """The bars: of the backend that would be chosen, the quicker one, against the best peer; and what cutting costs each of them."""
    plain = [name for name in (PLAIN, OPENVINO, MNN) if name in times]
    best = min(plain, key=lambda name: times.median(name))
    backends = {"edgekit, ONNX Runtime": (stage_names(times), UNCUT)}
    if NATIVE_UNCUT in times:
        backends["edgekit, native"] = (stage_names(times, NATIVES), NATIVE_UNCUT)
    chosen = min(backends, key=lambda name: times.median(*backends[name][0]))
    peer = f"{best.partition(', ')[2]} (the best plain export)"
    found = [Figure(f"{chosen} / {peer}", times.ratio(backends[chosen][0], [best]), 0.8)]
    for name, (stages, uncut) in backends.items():
        allowed = 1.1 * shares[0] * times.median(uncut) + 0.2
        found += [
            Figure(f"{name}: all stages / the same uncut", times.ratio(stages, [uncut]), 1.05),
            Figure(
                f"{name}: first exit, ms ({shares[0]:.1%} of the multiply-adds)",
                times.median(stages[0]),
                allowed,
            ),
        ]
    return found
