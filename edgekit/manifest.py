"""What a bundle's manifest says: its schema as typed records, what they must fulfil, and how they are written."""

import json
import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, cast

from edgekit.canonical import plain, self_hash
from edgekit.errors import BundleError, OptionError, meant

SCHEMA = 1
# Keys that most bundles have no use for: not written where they hold nothing.
LEFT_OUT = ("networks", "calibration", "layers", "runtime", "float16", "source", "temperature")
NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class Preprocessing(NamedTuple):
    """The recipe from an RGB picture to a network input.

    Attributes:
        height, width: the picture size in px that the network is meant for (its tensor may be larger: padding).
        color: order of the channels, ``RGB``, or ``GRAY`` for one channel.
        mean, std: per channel, ``(x / 255 - mean) / std``.
        fit: ``letterbox``: the whole picture, its aspect ratio kept. ``crop``: resized until ``height / crop`` x
            ``width / crop`` is covered, its aspect ratio kept, and of that the centre.
        anchor: the corner of the tensor in which the picture lies, such as ``bottom-right``; the rest is filled.
        fill: ``zeros`` (after normalisation) or ``edge`` (the nearest pixel).
        crop: the share that ``crop`` keeps of the side that it resizes to; 0.875 is 224 of 256 px.

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
    crop: float = 1.0


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


class Float16(NamedTuple):
    """A layer in FP16: largest partial sum (exact up to 2048), share of codes flipped when emulated (None: it has none)."""

    reach: int
    flipped: Optional[float]


class LayerSpec(NamedTuple):
    """One layer of a variant: bits of a weight as stored, in what its products are computed (``int8``, ``float32``), and in FP16."""

    name: str
    bits: int
    precision: str
    float16: Optional[Float16] = None


class Variant(NamedTuple):
    """One graph of a stage: ``bits`` as stored, ``precision`` as computed, ``bytes`` of the file ``graph``.

    ``layers`` says both layer by layer where they differ within a graph; it is empty where they do not. The file of a graph with
    weights of fewer bits than 32 is a packed one (`edgekit.packed`), read with `Bundle.read_graph`. ``runtime`` is the only
    backend that it is for, such as the one that has its operators; None for every one.
    """

    name: str
    graph: str
    bits: int
    precision: str
    bytes: int
    layers: Tuple[LayerSpec, ...] = ()
    runtime: Optional[str] = None


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
    """What is known of an exit: the calibrated confidence threshold and the accuracy, None where unknown.

    ``source`` says whose accuracy it is where we have not measured it ourselves, such as ``published``. Logits are divided by
    ``temperature`` before the threshold is asked; None where the exit was not calibrated.
    """

    threshold: Optional[float] = None
    accuracy: Optional[float] = None
    source: Optional[str] = None
    temperature: Optional[float] = None


class CalibrationSpec(NamedTuple):
    """How the thresholds of the exits came to be: the measure of confidence they are on, and the file that tells the rest."""

    measure: str
    record: str


class NetworkSpec(NamedTuple):
    """One of several networks that answer the same question; tensor names are its own, stage names are the bundle's.

    ``stages`` names them in the order in which they run. ``inputs`` is empty where they are the bundle's; another network
    may look at the same picture in another size.
    """

    name: str
    stages: Tuple[str, ...]
    options: Mapping[str, object] = {}
    inputs: Tuple[InputSpec, ...] = ()

    def golden_key(self, name: str) -> str:
        """Under which name the golden array of the input ``name`` is kept."""
        return f"{self.name}/{name}" if self.inputs else name


class FileEntry(NamedTuple):
    """Hash (hex) and size of one file of the bundle."""

    sha256: str
    bytes: int


class Manifest(NamedTuple):
    """Everything a device must know to run a network; see the named tuples of its parts.

    ``exits`` is keyed by stage. ``provenance`` is free-form JSON, with at least the ``edgekit`` version that wrote it.
    ``batch`` is how many pictures the graphs take at once, the first side of every shape; None: any number, and the shapes
    are written for one.
    ``networks`` is empty where the stages are those of one network; else there are several of rising cost, the last one is
    the best, and together they have all of the stages, in their order. ``inputs`` are then those of the first.
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
    batch: Optional[int] = 1
    schema: int = SCHEMA
    networks: Tuple[NetworkSpec, ...] = ()
    calibration: Optional[CalibrationSpec] = None

    def only(self, network: str) -> "Manifest":
        """The manifest of one of the networks, as if the bundle held no other.

        Raises:
            OptionError: there is none of this name.
        """
        found = next((one for one in self.networks if one.name == network), None)
        if found is None:
            names = [one.name for one in self.networks]
            has = f"it has {', '.join(names)}" if names else "it holds only one"
            raise OptionError(f"{self.name} has no network {network!r}{meant(network, names)}; {has}")
        return self._replace(
            name=found.name,
            options=found.options,
            inputs=found.inputs or self.inputs,
            stages=tuple(stage for stage in self.stages if stage.name in found.stages),
            exits={name: spec for name, spec in self.exits.items() if name in found.stages},
            networks=(),
        )

    def network_of(self, stage: str) -> Optional[str]:
        """The name of the network that ``stage`` belongs to; None where there is only one."""
        return next((one.name for one in self.networks if stage in one.stages), None)

    def to_json(self) -> Dict[str, object]:
        """The JSON document, its own hash included. What most bundles have no use for is left out of it."""
        document = cast(Dict[str, object], plain(self))
        stages = cast(List[Dict[str, List[Dict[str, object]]]], document["stages"])
        variants = [variant for stage in stages for variant in stage["variants"]]
        layers = [layer for one in variants for layer in cast(List[Dict[str, object]], one["layers"])]
        exits = cast(Dict[str, Dict[str, object]], document["exits"])
        for record in [document, *variants, *layers, *exits.values()]:
            for key in LEFT_OUT:
                if key in record and record[key] in (None, []):
                    del record[key]
        document["sha256"] = self_hash(document)
        return document


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

    stages = [stage.name for stage in manifest.stages]
    if not manifest.inputs or not manifest.stages:
        refuse("a bundle needs inputs and stages")
    if len(set(stages)) < len(stages):
        refuse("two stages have one name: {}".format(", ".join(stages)))
    _check_networks(manifest, refuse)
    for network in [manifest.only(one.name) for one in manifest.networks] or [manifest]:
        _check_tensors(network, refuse)
    exits = [stage.name for stage in manifest.stages if stage.exit is not None]
    for name in manifest.exits:
        if name not in exits:
            refuse("exits names {!r}, the stages with an exit are {}".format(name, ", ".join(exits)))
    graphs = [variant.graph for stage in manifest.stages for variant in stage.variants]
    for path in list(manifest.files) + graphs + [manifest.golden]:
        check_path(path, source)


def _check_networks(manifest: Manifest, refuse: Callable[[str], None]) -> None:
    names = [network.name for network in manifest.networks]
    if not names:
        return
    if len(names) == 1 or len(set(names)) < len(names):
        refuse("several networks need different names, they have [{}]".format(", ".join(names)))
    for name in names:
        if not NETWORK_NAME.fullmatch(name):
            refuse(f"{name!r} is not a name for a network: letters, digits and _ . + - are")
    theirs = [stage for network in manifest.networks for stage in network.stages]
    stages = [stage.name for stage in manifest.stages]
    if theirs != stages or not all(network.stages for network in manifest.networks):
        refuse(
            "the networks' stages are {}, one after the other; the bundle has {}".format(
                ", ".join(theirs), ", ".join(stages)
            )
        )
    wanted = [spec.name for spec in manifest.inputs]
    for network in manifest.networks:
        own = [spec.name for spec in network.inputs]
        if own and own != wanted:
            refuse(
                f"{network.name} reads {', '.join(own)}; all networks must be asked by {', '.join(wanted)}"
            )
        if own and manifest.task == "stereo":
            refuse(f"{network.name} has inputs of its own; the networks of a stereo bundle must share theirs")


def _check_tensors(manifest: Manifest, refuse: Callable[[str], None]) -> None:
    """Whether the tensors of one network fit together."""
    known = [spec.name for spec in manifest.inputs]
    for spec in manifest.inputs:
        recipe = spec.preprocessing
        if recipe is not None and not _usable(recipe, spec.shape, manifest.batch):
            refuse(
                f"{spec.name}: this edgekit has no preprocessing {recipe} to a tensor of shape {spec.shape}"
            )
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
                there = ", ".join(variants)
                refuse(f"{stage.name}'s default for {backend} is {name!r}, it has {there}")
    if len(set(known)) < len(known):
        refuse(
            "two tensors have one name: {}".format(
                ", ".join(sorted(name for name in known if known.count(name) > 1))
            )
        )
    if all(stage.exit is None for stage in manifest.stages):
        refuse(f"no stage of {manifest.name} has an exit")


def _usable(recipe: Preprocessing, shape: Tuple[int, ...], batch: Optional[int]) -> bool:
    corners = ("bottom-left", "bottom-right", "top-left", "top-right")
    known = recipe.anchor in corners and recipe.fill in ("zeros", "edge") and 0.0 < recipe.crop <= 1.0
    if recipe.fit == "crop":
        known = known and shape[2:] == (recipe.height, recipe.width)
    elif recipe.fit != "letterbox":
        known = False
    fitting = len(shape) == 4 and shape[0] == (batch or 1) and len(recipe.mean) == len(recipe.std) == shape[1]
    return known and fitting and all(recipe.std)


def check_path(path: str, source: str) -> None:
    """Refuse a path that could leave the bundle, or that another system reads differently.

    Raises:
        BundleError: the path is absolute, has ``..``, a backslash, a colon or an empty part.
    """
    parts = path.split("/")
    if re.search(r"[\\:\x00-\x1f]", path) or any(part in ("", ".", "..") for part in parts):
        raise BundleError(f"{source}: {path!r} is not a path inside a bundle")
