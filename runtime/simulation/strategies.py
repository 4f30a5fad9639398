"""Who answers frames in a simulation: edgekit's scheduler, and everybody that it is compared with, on the same frames."""

from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from edgekit.bundle import Manifest
from edgekit.runtime.alternatives import Alternatives
from edgekit.runtime.latency import LatencyModel
from edgekit.runtime.scheduler import Scheduler
from edgekit.runtime.session import EVEN, SURE, TRIED
from edgekit.runtime.simulation.comparators import ChoosingOracle, MeanModel, Oracle, UpToStage
from edgekit.runtime.simulation.outcomes import Figures, figures
from edgekit.runtime.simulation.simulate import CANCEL_MS, Outcomes, simulate
from edgekit.runtime.simulation.workload import Workload

EDGEKIT, MEAN, ORACLE, FULL = "edgekit", "mean-based", "oracle", "always all stages"


class Strategy(NamedTuple):
    """Who decides, what it learns with, what it does when the deadline comes, and how sure it must be; None: as its model is."""

    scheduler: Scheduler
    model: LatencyModel
    overrun: str
    confidence: Optional[float] = None


def compare(
    manifest: Manifest,
    workload: Workload,
    budget_ms: float,
    overrun: str = "return",
    confidence: Optional[float] = None,
    cancel_ms: float = CANCEL_MS,
) -> Dict[str, Figures]:
    """Figures by strategy: edgekit, a mean-based predictor in the same scheduler, each fixed stage, all stages, and the oracle.

    ``confidence`` is that of `edgekit.load`, None for its default. Fixed stages and all of them are what a network that knows no budget does: they finish, however late.
    """
    found = {
        name: answer_all(manifest, workload, budget_ms, strategy, cancel_ms)
        for name, strategy in strategies(workload.stages, overrun, confidence, manifest).items()
    }
    known = accuracies(manifest, found[ORACLE].exits)
    return {name: figures(outcomes, found[ORACLE], known) for name, outcomes in found.items()}


def strategies(
    stages: Sequence[Tuple[str, bool]],
    overrun: str = "return",
    confidence: Optional[float] = None,
    manifest: Optional[Manifest] = None,
) -> Dict[str, Strategy]:
    """A fresh one of each, by name; where ``manifest`` holds several networks, each of these takes a fixed stage's place."""
    names = [name for name, _ in stages]
    exits = [name for name, has_exit in stages if has_exit]
    model, mean = LatencyModel(names, confidence or SURE), MeanModel(names)
    several = manifest is not None and manifest.networks
    trying = (
        (confidence or (EVEN if several else TRIED)) if overrun == "return" else None
    )  # as a session does
    if manifest is not None and manifest.networks:
        return {
            EDGEKIT: Strategy(Alternatives(manifest, model), model, overrun, trying),
            MEAN: Strategy(Alternatives(manifest, mean), mean, overrun),
            **_fixed_networks(stages, manifest),
            ORACLE: Strategy(ChoosingOracle(manifest), LatencyModel(names), "return"),
        }
    found = {
        EDGEKIT: Strategy(Scheduler(stages, model), model, overrun, trying),
        MEAN: Strategy(Scheduler(stages, mean), mean, overrun),
    }
    for name in exits:
        label = FULL if name == exits[-1] else f"always {name}"
        found[label] = Strategy(UpToStage(stages, name), LatencyModel(names), "finish")
    found[ORACLE] = Strategy(Oracle(stages), LatencyModel(names), "return")
    return found


def _fixed_networks(stages: Sequence[Tuple[str, bool]], manifest: Manifest) -> Dict[str, Strategy]:
    names = [name for name, _ in stages]
    found = {}
    for network in manifest.networks:
        last = [name for name, has_exit in stages if has_exit and name in network.stages][-1]
        always = UpToStage(stages, last, network.stages[0])
        found[f"always {network.name}"] = Strategy(always, LatencyModel(names), "finish")
    return found


def answer_all(
    manifest: Manifest, workload: Workload, budget_ms: float, strategy: Strategy, cancel_ms: float = CANCEL_MS
) -> Outcomes:
    """Let a fresh strategy, which starts from what had been measured, answer every frame."""
    for name, durations in workload.measured.items():
        strategy.model.start(name, durations)
    return simulate(
        manifest,
        workload,
        budget_ms,
        strategy.scheduler,
        strategy.model,
        strategy.overrun,
        cancel_ms,
        strategy.confidence,
    )


def accuracies(manifest: Manifest, exits: Sequence[str]) -> Optional[Tuple[float, ...]]:
    """The exits' accuracies, if the bundle knows all of them."""
    specs: Mapping[str, object] = manifest.exits
    known = [manifest.exits[name].accuracy for name in exits if name in specs]
    values = tuple(value for value in known if value is not None)
    return values if len(values) == len(exits) else None
