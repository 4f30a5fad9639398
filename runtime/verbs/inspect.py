"""`edgekit inspect`: what a bundle holds, for people or as JSON."""

import argparse
import os
import statistics
from typing import Dict, List, Tuple

from edgekit.bundle import Bundle, ExitSpec, InputSpec, StageSpec, Variant, read_bundle
from edgekit.errors import BundleError
from edgekit.runtime.report import count, print_json, say, table

FLOAT16_EXACT = 2048  # whole numbers up to here are exact in FP16
LONGEST_OPTIONS = 60  # characters, in a column
PROVENANCE_FIRST = ("edgekit", "created", "checkpoint", "checkpoint_sha256")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "--json", action="store_true", help="print the manifest as JSON, with the state of every file"
    )

    # Answered by `edgekit.export.inspection`, for it reads graphs, which a device cannot.
    parser.add_argument(
        "--for",
        dest="target",
        metavar="TARGET",
        help="check every graph for a target, a TensorRT release such as 8.5, or all releases; needs edgekit[export]",
    )


def run(args: argparse.Namespace) -> int:
    """Print what the bundle holds; 1 if one of its files is damaged."""
    bundle = read_bundle(args.bundle)
    damaged = find_damaged(bundle)
    if args.json:
        document = bundle.manifest.to_json()
        document["damaged"] = damaged
        document["profiles"], document["engines"] = made_here(bundle)
        print_json(document)
    else:
        say(
            _head(bundle, damaged)
            + [""]
            + _networks(bundle)
            + _inputs(bundle)
            + [""]
            + _stages(bundle)
            + [""]
            + _provenance(bundle)
        )
    return 1 if damaged else 0


def find_damaged(bundle: Bundle) -> Dict[str, str]:
    """Every file that is missing or not as it was written, and what is wrong with it."""
    damaged = {}
    for name in bundle.manifest.files:
        try:
            bundle.read_bytes(name)
        except BundleError as error:
            damaged[name] = str(error)
    return damaged


def made_here(bundle: Bundle) -> Tuple[List[str], List[str]]:
    """The fingerprints for which this bundle has a measured profile, and those for which it has engines."""
    found = []
    for folder in ("profiles", "engines"):
        place = os.path.join(bundle.path, folder)
        names = sorted(os.listdir(place)) if os.path.isdir(place) else []
        found.append([os.path.splitext(name)[0] if folder == "profiles" else name for name in names])
    return found[0], found[1]


def _head(bundle: Bundle, damaged: Dict[str, str]) -> List[str]:
    manifest = bundle.manifest
    total = sum(entry.bytes for entry in manifest.files.values())
    profiles, engines = made_here(bundle)
    lines = [
        f"bundle      {bundle.path} (schema {manifest.schema})",
        f"network     {manifest.name}: {manifest.family}, {manifest.task}, for {manifest.target}",
        "options     {}".format(
            ", ".join(f"{key} {value}" for key, value in manifest.options.items()) or "none"
        ),
        f"size        {total / 1e6:.2f} MB in {len(manifest.files)} files,"
        f" {sum(stage.parameters for stage in manifest.stages):,} parameters,"
        f" {count(sum(stage.macs for stage in manifest.stages))} multiply-adds",
        f"files       {f'{len(damaged)} DAMAGED' if damaged else 'all as they were written (SHA-256)'}",
        f"profiles    {', '.join(profiles) or 'none yet: `edgekit bench` measures one'}",
    ]
    if engines:
        lines.append(f"engines     {', '.join(engines)}")
    return lines + [f"            ! {what}" for what in damaged.values()]


def _networks(bundle: Bundle) -> List[str]:
    """Where there are several, what each costs and gives."""
    manifest = bundle.manifest
    rows = []
    for network in manifest.networks:
        alone = manifest.only(network.name)
        exits = [
            manifest.exits.get(stage.name, ExitSpec()) for stage in alone.stages if stage.exit is not None
        ]
        options = ", ".join(f"{key} {value}" for key, value in network.options.items())
        rows.append(
            [
                network.name,
                ", ".join(network.stages),
                count(sum(stage.macs for stage in alone.stages)),
                f"{sum(stage.parameters for stage in alone.stages):,}",
                _accuracy(exits[-1]),
                options if len(options) <= LONGEST_OPTIONS else "in --json",
            ]
        )
    if not rows:
        return []
    header = ["network", "stages", "MACs", "parameters", "accuracy", "options"]
    title = "Networks, of which the scheduler runs the best that fits (`run --network NAME` takes one)"
    return [title, *_indented(table(header, rows, left=2)), ""]


def _accuracy(spec: ExitSpec) -> str:
    if spec.accuracy is None:
        return "unknown"
    return f"{spec.accuracy:g} {spec.source or ''}".rstrip()


def _inputs(bundle: Bundle) -> List[str]:
    manifest = bundle.manifest
    lines = ["Inputs"]
    for spec in manifest.inputs:
        lines.append(f"  {spec.name}: {spec.dtype} {_shape(spec.shape)} {spec.layout}")
        lines += [f"    {line}" for line in _recipe(spec)]
    for network in manifest.networks:
        for spec in network.inputs:
            lines.append(f"  {spec.name} of {network.name}: {spec.dtype} {_shape(spec.shape)} {spec.layout}")
            lines += [f"    {line}" for line in _recipe(spec)]
    return lines


def _recipe(spec: InputSpec) -> List[str]:
    recipe = spec.preprocessing
    if recipe is None:
        return ["no picture: give the tensor itself"]
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (recipe.mean, recipe.std))
    how = f"fitted into {recipe.width} x {recipe.height} px ({recipe.fit}, {recipe.anchor}, the rest {recipe.fill})"
    if recipe.fit == "crop":
        covered = " x ".join(f"{side / recipe.crop:.0f}" for side in (recipe.width, recipe.height))
        how = f"resized to cover {covered} px, of that the centre, {recipe.width} x {recipe.height} px"
    return [
        f"from a picture in {recipe.color}: {how},",
        f"(x / 255 - mean) / std with mean [{mean}], std [{std}]",
    ]


def _stages(bundle: Bundle) -> List[str]:
    manifest = bundle.manifest
    header = ["stage", "reads", "writes", "MACs", "parameters"]
    rows = []
    for stage in manifest.stages:
        writes = [
            "{} {}{}{}".format(
                out.name,
                _shape(out.shape),
                f" {out.unit}" if out.unit else "",
                " *" * (out.name == stage.exit),
            )
            for out in stage.outputs
        ]
        # One line per tensor: stages hand on several.
        height = max(len(writes), len(stage.inputs))
        for line in range(height):
            reads = stage.inputs[line] if line < len(stage.inputs) else ""
            write = writes[line] if line < len(writes) else ""
            first = line == 0
            figures = [count(stage.macs), f"{stage.parameters:,}"] if first else ["", ""]
            label = f"{stage.name} {manifest.network_of(stage.name) or ''}".rstrip()
            rows.append([label if first else "", reads, write, *figures])
    lines = [
        "Stages (* is the exit: an answer that can be used)",
        *_indented(table(header, rows, left=3)),
        "",
    ]
    variants = [row for stage in manifest.stages for row in _variants(stage)]
    lines += ["Variants: equal graphs, of which a backend takes the one that is fastest on the device"]
    lines += _indented(
        table(["stage", "variant", "default of", "stored", "computes in", "bytes"], variants, left=3)
    )
    lines += [line for stage in manifest.stages for line in _layers(stage)]
    known = {
        name: spec
        for name, spec in manifest.exits.items()
        if spec.threshold is not None or spec.accuracy is not None
    }
    for name, spec in known.items():
        at = "" if spec.temperature is None else f" at temperature {spec.temperature:.3g}"
        lines.append(
            f"  exit of {name}: confidence threshold {_or_unknown(spec.threshold)}{at}, accuracy {_accuracy(spec)}"
        )
    if manifest.calibration is not None:
        lines.append(
            f"  calibrated by {manifest.calibration.measure}: {manifest.calibration.record} tells how"
        )
    return lines


def _layers(stage: StageSpec) -> List[str]:
    """How many layers of each graph store and compute what, where that differs within it; each layer by name is in --json."""
    lines = []
    for variant in stage.variants:
        kinds = {}  # type: Dict[Tuple[int, str], int]
        for layer in variant.layers:
            kinds[layer.bits, layer.precision] = kinds.get((layer.bits, layer.precision), 0) + 1
        said = [
            f"{number} store {bits} bit and compute in {precision}"
            for (bits, precision), number in sorted(kinds.items())
        ]
        if said:
            lines.append(
                "  {} {}: of {} layers {}".format(
                    stage.name, variant.name, len(variant.layers), ", ".join(said)
                )
            )
        lines += _float16(stage.name, variant)
    return lines


def _float16(stage: str, variant: Variant) -> List[str]:
    """What was proven and what was emulated of its layers in FP16, in a sentence."""
    halves = [layer.float16 for layer in variant.layers if layer.float16 is not None]
    if not halves:
        return []
    proven = sum(1 for half in halves if half.reach <= FLOAT16_EXACT)
    flipped = [half.flipped for half in halves if half.flipped is not None]
    return [
        f"  {stage} {variant.name}: in FP16, sums are proven exact in {proven} of {len(halves)} layers (no partial sum beyond {FLOAT16_EXACT}), and with 32-bit accumulators in all;",
        f"    emulated with 16-bit accumulators, a layer flips {statistics.median(flipped):.3%} of the next one's codes (median; the worst {max(flipped):.2%})"
        if flipped
        else "    no layer is followed by codes",
    ]


def _variants(stage: StageSpec) -> List[List[str]]:
    rows = []
    for index, variant in enumerate(stage.variants):
        default_of = sorted(backend for backend, name in stage.defaults.items() if name == variant.name)
        if variant.runtime is not None and variant.runtime not in default_of:
            default_of.append(f"({variant.runtime} only)")
        name = stage.name if index == 0 else ""
        rows.append(
            [
                name,
                variant.name,
                ", ".join(default_of),
                f"{variant.bits} bit",
                variant.precision,
                f"{variant.bytes:,}",
            ]
        )
    return rows


def _provenance(bundle: Bundle) -> List[str]:
    provenance = bundle.manifest.provenance
    keys = [key for key in PROVENANCE_FIRST if key in provenance]
    keys += sorted(set(provenance) - set(keys))
    return ["Provenance"] + [f"  {key.ljust(18)} {_told(key, provenance[key])}" for key in keys]


def _told(key: str, value: object) -> str:
    if key == "parity" and isinstance(value, list) and value:
        # Rows of stage, variant, tensor, typical error, worst error, unit: see edgekit.export.parity.
        worst: Dict[str, float] = {}
        for row in value:
            worst[str(row[-1])] = max(worst.get(str(row[-1]), 0.0), float(row[-2]))
        errors = ", ".join(f"{error:.2g} {unit}" for unit, error in worst.items())
        return f"{len(value)} tensors compared at export, largest difference {errors} (each in --json)"
    return (
        f"{len(value)} entries (in --json)"
        if isinstance(value, (list, dict)) and len(str(value)) > 100
        else str(value)
    )


def _indented(lines: List[str]) -> List[str]:
    return ["  " + line for line in lines]


def _shape(shape: Tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)


def _or_unknown(value: object) -> str:
    return "unknown" if value is None else f"{value:g}"
