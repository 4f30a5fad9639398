"""`edgekit verify`: is this bundle undamaged, and does it compute here what it computed where it was exported?"""

import argparse
import os
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from edgekit.bundle import Bundle, Manifest, read_bundle
from edgekit.errors import BackendError, BundleError, NewerBundleError
from edgekit.runtime.opening import usual_backends
from edgekit.runtime.report import print_json, say, table, warn
from edgekit.runtime.session import Session
from edgekit.runtime.variants import variant_choices
from edgekit.runtime.verbs.inspect import find_damaged
from edgekit.runtime.verbs.options import add_backend_options, providers_of
from edgekit.runtime.verbs.sessions import add_network_option, networks_asked_for

# What a faithful float32 graph keeps to on any backend. Disparities: a pixel near a tie may fall to the other side.
PX_TOLERANCE = 2e-2
PX_SHARE = 0.999
RELATIVE_TOLERANCE = 1e-3
# Where engines compute in less than float32, which `edgekit build` allows only as far as it does no harm.
REDUCED, REDUCED_SHARE = 25.0, 0.99


class Comparison(NamedTuple):
    """One exit against the golden one.

    Attributes:
        stage, exit, unit: what was compared; unit ``px``, or None for logits.
        largest: the largest absolute difference, in the unit; None if anything is not finite or the shapes differ.
        within: share of the elements inside the tolerance, 0 to 1.
        tolerance: px, or relative to the largest golden magnitude.
        ok: whether enough lies within.
        needed: the share that must lie within.
    """

    stage: str
    exit: str
    unit: Optional[str]
    largest: Optional[float]
    within: float
    tolerance: float
    ok: bool
    needed: float = 1.0


class Check(NamedTuple):
    """One run over the golden input with one choice of variants; ``error`` where it did not run to its end."""

    backend: Optional[str]
    variants: Mapping[str, str]
    comparisons: Tuple[Comparison, ...]
    error: Optional[str]

    @property
    def ok(self) -> bool:
        """Whether it ran and every exit is right."""
        return self.error is None and all(comparison.ok for comparison in self.comparisons)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_backend_options(parser)
    add_network_option(parser)
    parser.add_argument(
        "--all-variants",
        action="store_true",
        help="check every graph that this backend can run, not only those it takes",
    )
    parser.add_argument(
        "--files-only", action="store_true", help="check the files and run nothing: needs no backend"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Check the files, then the answers; 1 if anything is wrong."""
    damaged: Dict[str, str] = {}
    checks: List[Check] = []
    try:
        bundle = read_bundle(args.bundle)
        damaged = find_damaged(bundle)
    except NewerBundleError:  # not damaged, so that no copy would help
        raise
    except BundleError as error:
        if not os.path.exists(os.path.join(args.bundle, "manifest.json")):
            raise
        bundle, damaged = None, {"manifest.json": str(error)}
    if bundle is not None and not damaged and not args.files_only:
        backend = usual_backends(bundle, args.backend, providers_of(args), args.threads)[0]
        choices = variant_choices(bundle.manifest, backend) if args.all_variants else [{}]
        for number, choice in enumerate(choices, 1):
            if len(choices) > 1:
                warn(f"verify: variants {number} of {len(choices)}")
            for network in networks_asked_for(args, bundle.manifest):
                checks.append(check_answers(bundle, choice, args, network))
    ok = not damaged and all(check.ok for check in checks)
    if args.json:
        print_json(
            {
                "bundle": args.bundle,
                "ok": ok,
                "damaged": damaged,
                "checks": [_check_json(check) for check in checks],
            }
        )
    else:
        say(_lines(bundle, damaged, checks, args.files_only))
    return 0 if ok else 1


def check_answers(
    bundle: Bundle, variants: Dict[str, str], args: argparse.Namespace, network: Optional[str] = None
) -> Check:
    """Run the golden input through one choice of variants and compare every exit, of one network where there are several."""
    if network is not None:
        stages = [stage.name for stage in bundle.manifest.only(network).stages]
        variants = {stage: variant for stage, variant in variants.items() if stage in stages}
    try:
        with Session.open(
            bundle.path,
            args.backend,
            providers_of(args),
            args.threads,
            variants or None,
            warmup=0,
            policies=(),
            network=network,
        ) as session:
            inputs, golden = session.golden()
            result = session.infer(budget_ms=None, overrun="return", reuse=False, **inputs)
            precisions = session.backend.settings.get("precisions")
            reduced = isinstance(precisions, dict) and any(one != "fp32" for one in precisions.values())
            comparisons = compare_exits(session.manifest, result.exits, golden, reduced)
            name = f"{session.backend.name} {session.backend.version}"
            return Check(name, session.variants, comparisons, result.error)
    except BackendError as error:
        return Check(args.backend, variants, (), str(error))


def compare_exits(
    manifest: Manifest,
    exits: Mapping[str, np.ndarray],
    golden: Mapping[str, np.ndarray],
    reduced: bool = False,
) -> Tuple[Comparison, ...]:
    """Compare every exit, as the network gives it, with the golden array of its stage.

    ``reduced``: some of it was computed in less than float32.
    """
    found = []
    for stage in manifest.stages:
        if stage.exit is not None:
            unit = next(spec.unit for spec in stage.outputs if spec.name == stage.exit)
            found.append(
                compare(stage.name, stage.exit, unit, exits.get(stage.name), golden[stage.name], reduced)
            )
    return tuple(found)


def compare(
    stage: str,
    name: str,
    unit: Optional[str],
    ours: Optional[np.ndarray],
    golden: np.ndarray,
    reduced: bool = False,
) -> Comparison:
    """One exit against the golden one: pixels one by one, logits relative to the largest."""
    tolerance = (PX_TOLERANCE if unit == "px" else RELATIVE_TOLERANCE) * (REDUCED if reduced else 1.0)
    needed = REDUCED_SHARE if reduced else PX_SHARE if unit == "px" else 1.0
    if ours is None or ours.shape != golden.shape or not np.isfinite(ours).all():
        return Comparison(stage, name, unit, None, 0.0, tolerance, False, needed)
    difference = np.abs(ours.astype(np.float64) - golden)
    limit = tolerance if unit == "px" else tolerance * max(float(np.abs(golden).max()), 1e-30)
    within = float((difference <= limit).mean())
    return Comparison(
        stage,
        name,
        unit,
        float(difference.max()),
        within,
        tolerance,
        within >= needed,
        needed,
    )


def _check_json(check: Check) -> Dict[str, object]:
    return {
        "backend": check.backend,
        "variants": dict(check.variants),
        "ok": check.ok,
        "error": check.error,
        "exits": [comparison._asdict() for comparison in check.comparisons],
    }


def _lines(
    bundle: Optional[Bundle], damaged: Dict[str, str], checks: Sequence[Check], files_only: bool
) -> List[str]:
    lines = []
    if damaged:
        lines += [f"FAILED  {what}" for what in damaged.values()]
    elif bundle is not None:
        lines.append(f"files: {len(bundle.manifest.files)} are as they were written (SHA-256)")
    rows = []
    for check in checks:
        for one in check.comparisons:
            rows.append(
                [
                    _named(bundle, one.stage),
                    one.exit,
                    check.variants.get(one.stage, "default"),
                    "not finite"
                    if one.largest is None
                    else f"{one.largest:.2g}{f' {one.unit}' if one.unit else ''}",
                    f"{100 * one.within:.3f} %",
                    f"{100 * one.needed:g} % within {one.tolerance:g} {one.unit or 'relative'}",
                    "ok" if one.ok else "FAILED",
                ]
            )
    if rows:
        header = ["stage", "exit", "variant", "largest difference", "within", "needed", ""]
        lines += [
            "",
            f"answers on {checks[0].backend}, against those recorded at export:",
            *table(header, rows, left=3),
        ]
    lines += [f"FAILED  {_names(check)}: {check.error}" for check in checks if check.error is not None]
    if damaged:
        lines.append("The bundle is damaged: copy or export it again.")
    elif checks and all(check.error is not None for check in checks):
        lines.append("The files are sound, and nothing could be run here.")
    elif not all(check.ok for check in checks):
        lines.append(
            "This device does not compute what was exported: try `--backend`, another variant, or report it."
        )
    elif not files_only:
        lines.append("Every answer is right.")
    return lines


def _named(bundle: Optional[Bundle], stage: str) -> str:
    network = None if bundle is None else bundle.manifest.network_of(stage)
    return f"{stage} {network}" if network else stage


def _names(check: Check) -> str:
    return ", ".join(f"{stage} {name}" for stage, name in check.variants.items()) or "default variants"
