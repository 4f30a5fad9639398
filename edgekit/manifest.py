"""What a bundle's manifest says: its schema as typed records, read with the place of every mistake, written canonically."""

import hashlib
import json
import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, TypeVar, cast

from edgekit.errors import BundleError

SCHEMA = 1

# MIGRATIONS[n] turns the JSON of schema n into that of schema n + 1; applied one after the other up to SCHEMA.
MIGRATIONS: Dict[int, Callable[[Dict[str, object]], Dict[str, object]]] = {}

T = TypeVar("T")


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


def decode(text: bytes, source: str) -> Manifest:
    """Read the bytes of a ``manifest.json`` that lies at ``source``.

    Raises:
        BundleError: no JSON, changed after it was written, of a newer schema, or something in it is missing or wrong.
    """
    try:
        document = json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{source}: damaged, no JSON ({error}); export the bundle again") from error
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise BundleError(f"{source}: no bundle's manifest, it names no schema")
    _check_schema(document, source)
    if document.get("sha256") != self_hash(document):
        raise BundleError(
            f"{source}: changed since it was written (its hash does not fit); export the bundle again"
        )
    for schema in range(document["schema"], SCHEMA):
        document = MIGRATIONS[schema](document)
    manifest = _manifest(_Place(document, source))
    check(manifest, source)
    return manifest


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


def _check_schema(document: Mapping[str, object], source: str) -> None:
    schema = cast(int, document["schema"])
    if schema > SCHEMA:
        provenance = document.get("provenance")
        writer = provenance.get("edgekit") if isinstance(provenance, dict) else None
        raise BundleError(
            "{}: schema {}, and this edgekit reads schemas up to {}. edgekit {} reads it: upgrade with "
            "pip install --upgrade edgekit, or run the bundle by itself with python3 BUNDLE VERB".format(
                source, schema, SCHEMA, f"{writer} or newer" if writer else "of a newer version"
            )
        )
    if any(step not in MIGRATIONS for step in range(schema, SCHEMA)):
        raise BundleError(f"{source}: schema {schema} is unknown; export the bundle again")


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


class _Place:
    """A JSON value and where it stands, so that a mistake in it can be named."""

    def __init__(self, value: object, where: str) -> None:
        self.value = value
        self.where = where

    def _refuse(self, wanted: str) -> BundleError:
        return BundleError(f"{self.where}: should be {wanted}, is {self.value!r}")

    def __getitem__(self, key: str) -> "_Place":
        if not isinstance(self.value, dict):
            raise self._refuse("an object")
        if key not in self.value:
            raise BundleError(f"{self.where}: has no {key!r}")
        return _Place(self.value[key], f"{self.where}: {key}")

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self._refuse("a text")
        return self.value

    def whole(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self._refuse("a whole number")
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self._refuse("a number")
        return float(self.value)

    def optional(self, read: "Callable[[_Place], T]") -> Optional[T]:
        return None if self.value is None else read(self)

    def each(self, read: "Callable[[_Place], T]") -> Tuple[T, ...]:
        if not isinstance(self.value, list):
            raise self._refuse("a list")
        return tuple(read(_Place(item, f"{self.where}[{k}]")) for k, item in enumerate(self.value))

    def named(self, read: "Callable[[_Place], T]") -> Dict[str, T]:
        if not isinstance(self.value, dict):
            raise self._refuse("an object")
        return {str(key): read(self[key]) for key in self.value}


def _manifest(place: _Place) -> Manifest:
    return Manifest(
        name=place["name"].text(),
        family=place["family"].text(),
        task=place["task"].text(),
        options=place["options"].named(_anything),
        target=place["target"].text(),
        provenance=place["provenance"].named(_anything),
        inputs=place["inputs"].each(_input),
        stages=place["stages"].each(_stage),
        exits=place["exits"].named(_exit),
        golden=place["golden"].text(),
        files=place["files"].named(_file),
    )


def _input(place: _Place) -> InputSpec:
    tensor = _tensor(place)
    return InputSpec(*tensor, preprocessing=place["preprocessing"].optional(_preprocessing))


def _preprocessing(place: _Place) -> Preprocessing:
    mean, std = (place[key].each(_Place.number) for key in ("mean", "std"))
    size = place["height"].whole(), place["width"].whole()
    return Preprocessing(
        size[0], size[1], place["color"].text(), mean, std,
        *(place[key].text() for key in ("fit", "anchor", "fill")),
    )  # fmt: skip


def _tensor(place: _Place) -> TensorSpec:
    name, dtype, layout = (place[key].text() for key in ("name", "dtype", "layout"))
    return TensorSpec(
        name, dtype, place["shape"].each(_Place.whole), layout, place["unit"].optional(_Place.text)
    )


def _stage(place: _Place) -> StageSpec:
    return StageSpec(
        name=place["name"].text(),
        inputs=place["inputs"].each(_Place.text),
        exit=place["exit"].optional(_Place.text),
        outputs=place["outputs"].each(_tensor),
        macs=place["macs"].whole(),
        parameters=place["parameters"].whole(),
        variants=place["variants"].each(_variant),
        defaults=place["defaults"].named(_Place.text),
    )


def _variant(place: _Place) -> Variant:
    name, graph, precision = (place[key].text() for key in ("name", "graph", "precision"))
    return Variant(name, graph, place["bits"].whole(), precision, place["bytes"].whole())


def _exit(place: _Place) -> ExitSpec:
    threshold, accuracy = (place[key].optional(_Place.number) for key in ("threshold", "accuracy"))
    return ExitSpec(threshold, accuracy)


def _file(place: _Place) -> FileEntry:
    return FileEntry(place["sha256"].text(), place["bytes"].whole())


def _anything(place: _Place) -> object:
    return place.value


__all__: List[str] = [
    "MIGRATIONS", "SCHEMA", "ExitSpec", "FileEntry", "InputSpec", "Manifest", "Preprocessing", "StageSpec", "TensorSpec", "Variant",
]  # fmt: skip
