"""From the bytes of a manifest to its records: unchanged, of a schema that is known, and every mistake named by its place."""

import json
from typing import Callable, Dict, Mapping, Optional, Tuple, TypeVar, cast

from edgekit.canonical import self_hash
from edgekit.errors import BundleError, NewerBundleError
from edgekit.manifest import (
    SCHEMA,
    CalibrationSpec,
    ExitSpec,
    FileEntry,
    Float16,
    InputSpec,
    LayerSpec,
    Manifest,
    NetworkSpec,
    Preprocessing,
    StageSpec,
    TensorSpec,
    Variant,
    check,
)

# MIGRATIONS[n] turns the JSON of schema n into that of schema n + 1; applied one after the other up to SCHEMA.
MIGRATIONS: Dict[int, Callable[[Dict[str, object]], Dict[str, object]]] = {}

T = TypeVar("T")


def decode(text: bytes, source: str) -> Manifest:
    """Read the bytes of a ``manifest.json`` that lies at ``source``.

    Raises:
        NewerBundleError: it is of a newer schema.
        BundleError: no JSON, changed after it was written, or something in it is missing or wrong.
    """
    try:
        document = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{source}: damaged, no JSON ({error}); export the bundle again") from error
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise BundleError(f"{source}: no bundle's manifest, it names no schema")
    _check_schema(document, source)
    seen = _hash_of(document)
    if seen is None or document.get("sha256") != seen:
        raise BundleError(
            f"{source}: changed since it was written (its hash does not fit); export the bundle again"
        )
    for schema in range(document["schema"], SCHEMA):
        document = MIGRATIONS[schema](document)
    manifest = _manifest(_Place(document, source))
    check(manifest, source)
    return manifest


def _hash_of(document: Mapping[str, object]) -> Optional[str]:
    """What its hash must be; None if it holds what no manifest that was written can hold."""
    try:
        return self_hash(document)
    except ValueError:  # a number beyond what floats hold, such as 1e999
        return None


def _check_schema(document: Mapping[str, object], source: str) -> None:
    schema = cast(int, document["schema"])
    if schema > SCHEMA:
        provenance = document.get("provenance")
        writer = provenance.get("edgekit") if isinstance(provenance, dict) else None
        raise NewerBundleError(
            "{}: schema {}, and this edgekit reads schemas up to {}. edgekit {} reads it: upgrade with "
            "pip install --upgrade edgekit, or run the bundle by itself with python3 BUNDLE VERB".format(
                source, schema, SCHEMA, f"{writer} or newer" if writer else "of a newer version"
            )
        )
    if any(step not in MIGRATIONS for step in range(schema, SCHEMA)):
        raise BundleError(f"{source}: schema {schema} is unknown; export the bundle again")


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

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

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
        batch=place["batch"].optional(_Place.whole) if "batch" in place else 1,
        networks=place["networks"].each(_network) if place.has("networks") else (),
        calibration=_calibration(place["calibration"]) if place.has("calibration") else None,
    )


def _network(place: _Place) -> NetworkSpec:
    return NetworkSpec(
        name=place["name"].text(),
        stages=place["stages"].each(_Place.text),
        options=place["options"].named(_anything),
        inputs=place["inputs"].each(_input),
    )


def _input(place: _Place) -> InputSpec:
    tensor = _tensor(place)
    return InputSpec(*tensor, preprocessing=place["preprocessing"].optional(_preprocessing))


def _preprocessing(place: _Place) -> Preprocessing:
    mean, std = (place[key].each(_Place.number) for key in ("mean", "std"))
    size = place["height"].whole(), place["width"].whole()
    fit, anchor, fill = (place[key].text() for key in ("fit", "anchor", "fill"))
    crop = place["crop"].number() if "crop" in place else 1.0
    return Preprocessing(size[0], size[1], place["color"].text(), mean, std, fit, anchor, fill, crop)


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
    layers = place["layers"].each(_layer) if place.has("layers") else ()
    runtime = place["runtime"].text() if place.has("runtime") else None
    return Variant(name, graph, place["bits"].whole(), precision, place["bytes"].whole(), layers, runtime)


def _layer(place: _Place) -> LayerSpec:
    half = None
    if place.has("float16"):
        half = Float16(place["float16"]["reach"].whole(), place["float16"]["flipped"].optional(_Place.number))
    return LayerSpec(place["name"].text(), place["bits"].whole(), place["precision"].text(), half)


def _exit(place: _Place) -> ExitSpec:
    threshold, accuracy = (place[key].optional(_Place.number) for key in ("threshold", "accuracy"))
    source = place["source"].optional(_Place.text) if place.has("source") else None
    temperature = place["temperature"].optional(_Place.number) if place.has("temperature") else None
    return ExitSpec(threshold, accuracy, source, temperature)


def _calibration(place: _Place) -> CalibrationSpec:
    return CalibrationSpec(place["measure"].text(), place["record"].text())


def _file(place: _Place) -> FileEntry:
    return FileEntry(place["sha256"].text(), place["bytes"].whole())


def _anything(place: _Place) -> object:
    return place.value
