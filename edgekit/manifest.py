"""What a bundle's manifest says: its schema as typed records, what they must fulfil, and how they are written."""

import hashlib
import json
import re
from typing import Dict, Mapping, NamedTuple, Optional, Tuple, cast

from edgekit.errors import BundleError

SCHEMA = 1


class Preprocessing(NamedTuple):
    """The recipe from an RGB picture to a network input.

    Attributes:
        height, width: the picture size in px that the network is meant for (its tensor may be larger: padding).
        color: order of the channels, ``RGB``, or ``GRAY`` for one channel.
        mean, std: per channel, ``(x / 255 - mean) / std``.
        fit: ``letterbox``: the aspect ratio is kept.
        anchor: the corner of the tensor in which the picture lies, such as ``bottom-right``; the rest is filled.
        fill: ``zeros`` (after normalisation) or ``edge`` (the nearest pixel).

    The defaults are what keeps AnyNet's published weights on two KITTI frames (375 x 1242 in 384 x 1248) closest to their
    error on the authors' own crop: within 0.02 px at every exit, and 0.03 to 0.17 px off in every other corner or fill.
    """

    height: int
    width: int
    color: str
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    fit: str = "letterbox"
    anchor: str = "bottom-right"
    fill: str = "edge"


class InputSpec(NamedTuple):
    """A network input; ``preprocessing`` is None for an input that is no picture."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    layout: str
    unit: Optional[str]
    preprocessing: Optional[Preprocessing]


class TensorSpec(NamedTuple):
    """A tensor that a stage writes: numpy's name of its dtype, its static shape, ``NCHW`` or the like, unit such as ``px``."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    layout: str
    unit: Optional[str] = None


class Variant(NamedTuple):
    """One graph of a stage: ``bits`` as stored, ``precision`` as computed, ``bytes`` of the file ``graph``."""

    name: str
    graph: str
    bits: int
    precision: str
    bytes: int


class StageSpec(NamedTuple):
    """One stage: tensors read and written, the output that is an answer, and equivalent graphs to choose from.

    ``defaults`` names the variant that a backend takes before anything was measured; without an entry, the first one.
    """

    name: str
    inputs: Tuple[str, ...]
    exit: Optional[str]
    outputs: Tuple[TensorSpec, ...]
    macs: int
    parameters: int
    variants: Tuple[Variant, ...]
    defaults: Mapping[str, str]


class ExitSpec(NamedTuple):
    """What is known of an exit: the calibrated confidence threshold and the measured accuracy, None where unknown."""

    threshold: Optional[float] = None
    accuracy: Optional[float] = None


class FileEntry(NamedTuple):
    """Hash (hex) and size of one file of the bundle."""

    sha256: str
    bytes: int


class Manifest(NamedTuple):
    """Everything a device must know to run one network; see the named tuples of its parts.

    ``exits`` is keyed by stage. ``provenance`` is free-form JSON, with at least the ``edgekit`` version that wrote it.
    """

    name: str
    family: str
    task: str
    options: Mapping[str, object]
    target: str
    provenance: Mapping[str, object]
    inputs: Tuple[InputSpec, ...]
    stages: Tuple[StageSpec, ...]
    exits: Mapping[str, ExitSpec]
    golden: str = "golden/golden.npz"
    files: Mapping[str, FileEntry] = {}
    schema: int = SCHEMA

    def to_json(self) -> Dict[str, object]:
        """The JSON document, its own hash included."""
        document = cast(Dict[str, object], _plain(self))
        document["sha256"] = self_hash(document)
        return document


def self_hash(document: Mapping[str, object]) -> str:
    """SHA-256 (hex) of a manifest's canonical JSON without its ``sha256``."""
    bare = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def encode(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``.

    Raises:
        BundleError: something in it is no JSON value.
    """
    try:
        return (json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest holds something that is no JSON value: {error}") from error


def check(manifest: Manifest, source: str) -> None:
    """Refuse a manifest whose parts do not fit together.

    Raises:
        BundleError: two things have one name, a tensor is read before it is written, an exit or a default names nothing,
            or a path leaves the bundle.
    """

    def refuse(what: str) -> None:
        raise BundleError(f"{source}: {what}")

    known = [spec.name for spec in manifest.inputs]
    for spec in manifest.inputs:
        recipe = spec.preprocessing
        if recipe is not None and not _usable(recipe, spec.shape):
            refuse(
                f"{spec.name}: this edgekit has no preprocessing {recipe} to a tensor of shape {spec.shape}"
            )
    stages = [stage.name for stage in manifest.stages]
    if not manifest.inputs or not manifest.stages:
        refuse("a bundle needs inputs and stages")
    if len(set(stages)) < len(stages):
        refuse("two stages have one name: {}".format(", ".join(stages)))
    for stage in manifest.stages:
        unknown = [name for name in stage.inputs if name not in known]
        if unknown:
            refuse("{} reads {}, which nothing before it writes".format(stage.name, ", ".join(unknown)))
        outputs = [spec.name for spec in stage.outputs]
        known += outputs
        if stage.exit is not None and stage.exit not in outputs:
            refuse(
                "{}'s exit {!r} is none of its outputs {}".format(stage.name, stage.exit, ", ".join(outputs))
            )
        variants = [variant.name for variant in stage.variants]
        if not variants or len(set(variants)) < len(variants):
            refuse(
                "{} needs variants of different names, it has [{}]".format(stage.name, ", ".join(variants))
            )
        for backend, name in stage.defaults.items():
            if name not in variants:
                refuse(
                    "{}'s default for {} is {!r}, it has {}".format(
                        stage.name, backend, name, ", ".join(variants)
                    )
                )
    if len(set(known)) < len(known):
        refuse(
            "two tensors have one name: {}".format(
                ", ".join(sorted(name for name in known if known.count(name) > 1))
            )
        )
    exits = [stage.name for stage in manifest.stages if stage.exit is not None]
    if not exits:
        refuse("no stage has an exit")
    for name in manifest.exits:
        if name not in exits:
            refuse("exits names {!r}, the stages with an exit are {}".format(name, ", ".join(exits)))
    graphs = [variant.graph for stage in manifest.stages for variant in stage.variants]
    for path in list(manifest.files) + graphs + [manifest.golden]:
        check_path(path, source)


def _usable(recipe: Preprocessing, shape: Tuple[int, ...]) -> bool:
    corners = ("bottom-left", "bottom-right", "top-left", "top-right")
    known = recipe.fit == "letterbox" and recipe.anchor in corners and recipe.fill in ("zeros", "edge")
    fitting = len(shape) == 4 and shape[0] == 1 and len(recipe.mean) == len(recipe.std) == shape[1]
    return known and fitting and all(recipe.std)


def check_path(path: str, source: str) -> None:
    """Refuse a path that could leave the bundle, or that another system reads differently.

    Raises:
        BundleError: the path is absolute, has ``..``, a backslash, a colon or an empty part.
    """
    parts = path.split("/")
    if re.search(r"[\\:\x00-\x1f]", path) or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"{source}: {path!r} is no path inside a bundle")


def _plain(value: object) -> object:
    """Named tuples to dictionaries, tuples to lists, all the way down."""
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {name: _plain(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
