"""Which of its equal graphs every stage is measured with: the fastest of all of them here, or what was asked for."""

import argparse
from typing import List, Mapping, Optional, Tuple

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import BackendError
from edgekit.runtime.loading import check_variants
from edgekit.runtime.opening import usual_backends
from edgekit.runtime.report import Progress
from edgekit.runtime.variants import default_variant, fastest, time_variants, variant_choices
from edgekit.runtime.verbs.options import providers_of, read_variants
from edgekit.runtime.verbs.sessions import Sessions

ROUNDS = 30  # frames per variant before the measurement, to find the fastest
FASTEST, DEFAULT = "fastest", "default"


def add_variants_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--variants``."""
    parser.add_argument(
        "--variants",
        default=FASTEST,
        metavar="WHICH",
        help="fastest: time every graph of every stage first (default); default: take the bundle's; or STAGE=NAME,...",
    )


def choose_variants(
    args: argparse.Namespace, bundle: Bundle, inputs: Mapping[str, Mapping[str, np.ndarray]]
) -> Tuple[Optional[Mapping[str, str]], Mapping[str, Mapping[str, float]], List[str]]:
    """The variants to measure, the medians in ms that decided for them, and why some could not be tried."""
    backend = usual_backends(bundle, args.backend, providers_of(args), args.threads)[0]
    if args.variants == DEFAULT:
        return None, {}, []
    if args.variants != FASTEST:
        asked = read_variants(args.variants)
        check_variants(bundle.manifest, asked, backend)
        return asked, {}, []
    choices = variant_choices(bundle.manifest, backend)
    if len(choices) == 1:
        return None, {}, []
    sessions: List[Sessions] = []
    tried, refused = [], []
    try:
        for choice in choices:
            try:
                sessions.append(Sessions(args, bundle, choice, inputs))
                tried.append(choice)
            except BackendError as error:
                if choice is choices[-1] and not sessions:
                    raise
                refused.append(f"a variant cannot run here and was left out: {error}")
        frames = [lambda session=session: session.frame().stage_ms for session in sessions]
        rounds = min(args.runs, ROUNDS)
        timed = time_variants(tried, frames, rounds, Progress("timing every variant", rounds).at)
    finally:
        for session in sessions:
            session.close()
    own = {stage.name: default_variant(stage, backend) for stage in bundle.manifest.stages}
    return fastest(timed, own), timed, refused
