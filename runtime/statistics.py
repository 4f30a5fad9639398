"""What a list of measured times says: the figures that `bench` prints, and whether they can be believed."""

from typing import Dict, List, NamedTuple, Sequence

import numpy as np

RUNS_FOR_P99 = 100  # with fewer, the 99th percentile lies between the two largest runs and says little
DRIFT = 0.10  # medians of the first and the last third that differ by more: the clock moved, or the chip throttled
SPREAD = 1.5  # p99 / p50 above this: something else took the processor


class Summary(NamedTuple):
    """Times of ``runs`` runs in ms."""

    runs: int
    min: float
    mean: float
    p50: float
    p90: float
    p99: float
    max: float

    def to_json(self) -> Dict[str, float]:
        """The figures under names that carry their unit."""
        figures: Dict[str, float] = {f"{name}_ms": getattr(self, name) for name in self._fields[1:]}
        figures["runs"] = self.runs
        return figures


def summarize(times_ms: Sequence[float]) -> Summary:
    """Order statistics of at least one time; percentiles are interpolated linearly between runs."""
    times = np.asarray(times_ms, np.float64)
    lowest, highest = times.min(), times.max()
    # numpy 1.19, a TX2's, interpolates equal times to values that differ in the last bit, in either direction.
    ordered = np.clip(np.maximum.accumulate(np.percentile(times, (50.0, 90.0, 99.0))), lowest, highest)
    p50, p90, p99 = (float(value) for value in ordered)
    return Summary(len(times), float(lowest), float(times.mean()), p50, p90, p99, float(highest))


def doubts(times_ms: Sequence[float]) -> List[str]:
    """Reasons not to trust these times, each a sentence that ends with what to do; none if there are none."""
    times = np.asarray(times_ms, np.float64)
    found = []
    if len(times) < RUNS_FOR_P99:
        found.append(
            f"{len(times)} runs are too few for a 99th percentile: it lies between the two slowest. Use --runs"
            f" {2 * RUNS_FOR_P99} or more."
        )
    third = len(times) // 3
    if third >= 5:
        first, last = float(np.median(times[:third])), float(np.median(times[-third:]))
        if abs(last - first) > DRIFT * min(first, last):
            found.append(
                "the clock was unsteady: the last third of the runs took %+.0f %% against the first. Fix the clocks"
                " (`sudo jetson_clocks` on a Jetson), let the chip cool, or use a longer --warmup."
                % (100.0 * (last / first - 1.0))
            )
    p50, p99 = (float(value) for value in np.percentile(times, (50.0, 99.0)))
    if len(times) >= 20 and p99 > SPREAD * p50:
        found.append(
            "the slowest runs took %.1f times the median: something else used the processor. Stop other programs, or"
            " plan with the p99 and not the mean." % (p99 / p50)
        )
    return found
