"""What is worth building on this device: every graph in every precision that the module has, and how long it may take."""

from typing import Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.backends.tensorrt import TensorRT
from edgekit.runtime.backends.tensorrt_builder import precisions, precisions_of
from edgekit.runtime.building.engines import Trial, find_engine, graph_digest, read_plan, read_record
from edgekit.runtime.device.fingerprint import Fingerprint, fingerprint_of
from edgekit.runtime.variants import usable_variants


class Options(NamedTuple):
    """How to build.

    Attributes:
        precisions: to try, of those that the module has; None for all.
        variants: to try, by stage; None for all.
        workspace: bytes of workspace to begin with; None for a share of what is free.
        runs: executions to measure of every engine.
        tolerance: how much less exact than the most exact engine another may be; see `edgekit.runtime.building.trials`.
    """

    precisions: Optional[Tuple[str, ...]] = None
    variants: Optional[Mapping[str, str]] = None
    workspace: Optional[int] = None
    runs: int = 50
    tolerance: float = 1.0


class Step(NamedTuple):
    """One engine to be built.

    ``done``: it is there; ``refused``: why TensorRT did not take it the last time.
    """

    stage: str
    variant: str
    precision: str
    graph: str
    done: bool
    refused: Optional[str]

    @property
    def open(self) -> bool:
        """It is to be built."""
        return not self.done and self.refused is None


def plan_build(bundle: Bundle, backend: TensorRT, options: Options) -> Tuple[Step, ...]:
    """Every engine that is worth building here, in the order of the stages.

    Raises:
        BackendError: the graphs are not of one fixed shape.
        OptionError: a precision, stage or variant that is wanted is not there.
    """
    if bundle.manifest.batch is None:
        raise BackendError(
            f"{bundle.path}: its graphs take any number of pictures, and engines are built for one number:"
            " export with a fixed batch"
        )
    available = precisions(backend.library, backend.cuda)
    for wanted in options.precisions or ():
        if wanted not in available:
            raise OptionError(
                f"--precision {wanted}: this module with TensorRT {backend.version} has {', '.join(available)}"
            )
    _check_variants(bundle, options)
    fingerprint = device(backend)
    record = read_record(bundle, fingerprint)
    refused = {trial.key: trial.refused for trial in record.trials if trial.refused and trial.seconds is None}
    steps = []
    for stage in bundle.manifest.stages:
        usable = usable_variants(stage, backend.name)
        for variant in [one for one in stage.variants if one.name in usable]:
            if options.variants and options.variants.get(stage.name, variant.name) != variant.name:
                continue
            for precision in precisions_of(variant.precision, available):
                # The most exact is always built: the others are judged by it.
                if options.precisions and precision not in (*options.precisions, "fp32"):
                    continue
                digest = graph_digest(bundle, stage, variant.name)
                engine = find_engine(bundle, fingerprint, stage, variant.name, precision)
                done = engine is not None and read_plan(engine) is not None
                key = (stage.name, variant.name, precision, digest)
                steps.append(Step(*key, done, refused.get(key)))
    return tuple(steps)


def expected_seconds(known: Sequence[Trial], steps: Sequence[Step]) -> Optional[float]:
    """What is left to build will take about so long: None if nothing was built yet.

    A build takes what it took before; else as long as others in its precision did on average; else as long as any.
    """
    took = [trial for trial in known if trial.seconds is not None]
    total = 0.0
    for step in steps:
        if step.open:
            same = [trial for trial in took if trial.key[:3] == step[:3]]
            alike = same or [trial for trial in took if trial.precision == step.precision] or took
            if not alike:
                return None
            total += float(np.mean([trial.seconds for trial in alike]))
    return total


def device(backend: TensorRT) -> Fingerprint:
    """The fingerprint that engines are kept under."""
    return fingerprint_of(backend.name, backend.version, backend.settings)


def _check_variants(bundle: Bundle, options: Options) -> None:
    stages = {stage.name: [one.name for one in stage.variants] for stage in bundle.manifest.stages}
    for name, variant in (options.variants or {}).items():
        if variant not in stages.get(name, []):
            raise OptionError(
                f"--variants {name}={variant}: there is no such graph; `edgekit inspect` lists them"
            )
