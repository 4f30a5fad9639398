"""What loading a bundle takes from it besides its graphs: which variants to run, and the golden arrays."""

import io
from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from edgekit import archives
from edgekit.bundle import Bundle, InputSpec, Manifest
from edgekit.errors import BundleError, InputError, OptionError
from edgekit.runtime.backends import Backend
from edgekit.runtime.device.fingerprint import Fingerprint
from edgekit.runtime.profile import Profile
from edgekit.runtime.variants import default_variant, usable_variants


def choose_variants(
    manifest: Manifest, backend: str, profile: Optional[Profile], wanted: Optional[Mapping[str, str]]
) -> Dict[str, str]:
    """The variant to take for every stage: the one wanted, else the one measured to be fastest, else the default.

    Raises:
        OptionError: a stage or variant that is wanted does not exist.
    """
    if wanted is not None and not isinstance(wanted, Mapping):
        raise OptionError(
            f'variants={wanted!r}: must say which graph a stage takes, such as {{"stage2": "plain"}}'
        )
    check_variants(manifest, wanted or {}, backend)
    chosen = {}
    for stage in manifest.stages:
        name = stage.name
        measured = profile.stages[name].variant if profile is not None and name in profile.stages else None
        chosen[name] = (wanted or {}).get(name) or measured or default_variant(stage, backend)
    return chosen


def check_variants(manifest: Manifest, wanted: Mapping[str, str], backend: str) -> None:
    """That every stage and variant that is wanted is in the manifest, and is for ``backend`` where it has any for it.

    Raises:
        OptionError: one is not.
    """
    stages = {stage.name: stage for stage in manifest.stages}
    for name, variant in wanted.items():
        if name not in stages:
            raise OptionError(f"variants: there is no {name!r}; the stages are {', '.join(stages)}")
        known = [one.name for one in stages[name].variants]
        if variant not in known:
            raise OptionError(f"variants: {name} has no {variant!r}; it has {', '.join(known)}")
        usable = usable_variants(stages[name], backend)
        if usable and variant not in usable:
            raise OptionError(
                f"variants: {name}'s {variant} is not for {backend}, which can take {', '.join(usable)}"
            )


def load_stages(
    bundle: Bundle, backend: Backend, fingerprint: Fingerprint, variants: Mapping[str, str]
) -> None:
    """Make every stage that ``variants`` names ready to run on ``backend``.

    Raises:
        BundleError, BackendError: see `Backend.read` and `Backend.load`.
    """
    for stage in [stage for stage in bundle.manifest.stages if stage.name in variants]:
        data, source = backend.read(bundle, fingerprint, stage, variants[stage.name])
        backend.load(stage, data, source)


def find_input(manifest: Manifest, name: str) -> InputSpec:
    """The network input of this name.

    Raises:
        InputError: there is none.
    """
    for spec in manifest.inputs:
        if spec.name == name:
            return spec
    names = ", ".join(spec.name for spec in manifest.inputs)
    raise InputError(f"{name!r} is no input of this network; it takes {names}")


def read_golden(
    bundle: Bundle, network: Optional[str] = None
) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """A bundle's golden network inputs by name, and the exits that they must give, by stage.

    Of ``network``, or else of the only one; of several, the inputs of the first and all exits.

    Raises:
        BundleError: they are damaged or missing.
        OptionError: there is no such network.
    """
    manifest = bundle.manifest if network is None else bundle.manifest.only(network)
    keys = {spec.name: spec.name for spec in manifest.inputs}
    for one in bundle.manifest.networks:
        if one.name == network:
            keys = {name: one.golden_key(name) for name in keys}
    golden = bundle.read_bytes(manifest.golden)
    absurd = archives.too_large(io.BytesIO(golden), len(golden))
    if absurd is not None:
        raise BundleError(f"{bundle.path}: {manifest.golden}: refused, {absurd}")
    try:
        with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
            inputs = {name: arrays[key] for name, key in keys.items()}
            exits = {stage.name: arrays[stage.name] for stage in manifest.stages if stage.exit is not None}
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(
            f"{bundle.path}: {manifest.golden} does not hold what it should: {error}"
        ) from error
    return inputs, exits
