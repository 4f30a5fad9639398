"""What `edgekit bench --data` adds: early exits against every exit by itself, on labelled samples, timed in turns."""

import argparse
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.calibration.asking import Asking
from edgekit.runtime.calibration.calibrating import from_manifest, weigh
from edgekit.runtime.calibration.costs import exit_stages
from edgekit.runtime.calibration.labelled import Labelled, class_names, read_labelled
from edgekit.runtime.calibration.recorded_logits import Recorded, check_labels, classes_of
from edgekit.runtime.calibration.verdict import Comparison, Timed, Verdict, judge, summary
from edgekit.runtime.report import Progress, milliseconds, table
from edgekit.runtime.verbs.options import positive_whole
from edgekit.runtime.verbs.sessions import open_session

WARMUP = 20


class Judged(NamedTuple):
    """The verdict, with the exits' stages and where the samples come from."""

    exits: Tuple[str, ...]
    source: str
    verdict: Verdict

    def to_json(self) -> Dict[str, object]:
        """Everything that is told."""
        standing = self.verdict.standing
        return {
            "source": self.source,
            "samples": self.verdict.samples,
            "boundary": "end to end",
            "exits": {name: one.to_json() for name, one in zip(self.exits, self.verdict.comparisons)},
            "thresholds": None if standing is None else standing.to_json(),
            "summary": summary(self.verdict, self.exits),
        }


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``, ``--labels`` and ``--samples``."""
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="labelled pictures, as `edgekit calibrate` takes them: also tell whether early exits pay here",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="a CSV of file,label lines; for an .npz file also .npy"
    )
    parser.add_argument(
        "--samples", type=positive_whole, metavar="N", help="of --data at most, drawn at random"
    )


def read_data(args: argparse.Namespace, bundle: Bundle) -> Labelled:
    """The pictures that were named, in random order, before anything slow is done.

    Raises:
        InputError: they cannot be used.
        OptionError: logits were given, which tell no times, or the graphs take several pictures at once.
    """
    manifest = bundle.manifest
    classes = classes_of(manifest)
    if manifest.batch not in (1, None):
        raise OptionError(
            f"--data: {manifest.name} takes {manifest.batch} pictures at once; export it for one"
        )
    data = read_labelled(args.data, args.labels, classes, class_names(manifest.options))
    if isinstance(data, Recorded):
        raise OptionError(f"--data {args.data} holds logits; to measure times, pictures are needed")
    check_labels(data.labels, len(data.pictures), classes, data.source)
    order = np.random.RandomState(0).permutation(len(data.labels))[: args.samples]
    check_labels(data.labels[order], len(order), classes, f"{data.source}, {len(order)} samples")
    return data._replace(pictures=[data.pictures[int(k)] for k in order], labels=data.labels[order])


def compare(args: argparse.Namespace, bundle: Bundle, variants: Mapping[str, str], data: Labelled) -> Judged:
    """Answer every picture at every exit, once with and once without asking, and judge; ``bundle`` as for one network."""
    exits = exit_stages(bundle.manifest)
    asking = Asking(exits)
    name = bundle.manifest.inputs[0].name
    samples = len(data.labels)
    times: Dict[bool, List[List[float]]] = {True: [], False: []}
    logits: List[List[np.ndarray]] = []
    progress = Progress("early exits against every exit", samples)
    with open_session(args, bundle.path, variants, (asking,), args.network) as session:
        for turn in range(-min(WARMUP, samples), samples):
            picture = np.asarray(data.pictures[turn])
            if picture.dtype.kind == "f" and picture.ndim == 3:
                picture = picture[None]
            for asks in (True, False) if turn % 2 else (False, True):
                asking.asks = asks
                reached, said = [], []
                for result in session.anytime(budget_ms=None, **{name: picture}):
                    if result.error is not None:
                        raise BackendError(result.error)
                    reached.append(result.elapsed_ms)
                    said.append(result.exits[str(result.stage)].reshape(-1))
                if turn >= 0:
                    times[asks].append(reached)
                    if asks:
                        logits.append(said)
            progress.at(max(turn + 1, 0))
    recorded = Recorded(np.asarray(logits).transpose(1, 0, 2), data.labels, data.source)
    specs = [bundle.manifest.exits.get(name) for name in exits]
    calibration = bundle.manifest.calibration
    measure = "probability" if calibration is None else calibration.measure
    evidence = weigh(recorded, measure, [(spec and spec.temperature) or 1.0 for spec in specs])
    timed = Timed(evidence, np.asarray(times[False]).T, np.asarray(times[True]).T)
    thresholds = None
    if calibration is not None:
        thresholds = from_manifest([spec.threshold if spec is not None else None for spec in specs])
    return Judged(exits, data.source, judge(timed, thresholds))


def to_lines(judged: Judged) -> List[str]:
    """The verdict for people."""
    header = [
        "exit by itself",
        "accuracy",
        "interval",
        "mean",
        "early exits",
        "ratio",
        "interval",
        "early exits are",
    ]
    rows = []
    for number, (name, one) in enumerate(zip(judged.exits, judged.verdict.comparisons), 1):
        what = f"{name} (all stages)" if number == len(judged.exits) else name
        rows.append([what, *_accuracy(one.accuracy, one.interval), milliseconds(one.mean_ms), *_against(one)])
    lines = [
        f"Early exits against every exit by itself, at the same accuracy: {judged.verdict.samples} samples of {judged.source},"
        " ms (boundary: end to end)",
        *table(header, rows),
    ]
    standing = judged.verdict.standing
    if standing is not None:
        accuracy, interval = _accuracy(standing.accuracy, standing.interval)
        shares = ", ".join(
            f"{name} {100 * share:.0f} %" for name, share in zip(judged.exits, standing.shares)
        )
        lines.append(
            f"The bundle's thresholds: accuracy {accuracy} ({interval}), mean {milliseconds(standing.mean_ms)} ms ({shares}):"
            f" {standing.verdict}"
        )
    return [
        *lines,
        summary(judged.verdict, judged.exits),
        "frontier: early exits reach that accuracy in less time; dominated: in more; cannot be told: the 95 % interval of the"
        " ratio holds 1. Their time includes asking every exit how sure it is. Thresholds were not found on the samples that"
        " they are judged on. Times above an exit's 95th percentile count as that.",
    ]


def _accuracy(share: float, interval: Tuple[float, float]) -> List[str]:
    return [f"{100 * share:.2f} %", f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}"]


def _against(one: Comparison) -> List[Optional[str]]:
    if one.verdict is None:
        return [None, None, None, "(nobody leaves before it)"]
    low, high = ("-" if end is None else f"{end:.2f}" for end in one.ratio_interval)
    ratio = None if one.ratio is None else f"{one.ratio:.2f}"
    return [milliseconds(one.early_ms), ratio, f"{low}-{high}", one.verdict]
