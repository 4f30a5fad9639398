"""What `edgekit bench` says of the device itself: power mode, clocks and heat before and after, and what an inference costs in mJ."""

import argparse
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from edgekit.bundle import Bundle
from edgekit.runtime.device.state import DeviceState
from edgekit.runtime.device.telemetry import Energy, Source, find_source, measure_energy
from edgekit.runtime.policies import FixedStage
from edgekit.runtime.report import table
from edgekit.runtime.verbs.options import positive
from edgekit.runtime.verbs.sessions import open_session

SECONDS = 2.0
ENERGY = "an inference that ends at this exit, everything the module draws included"
NO_READING = "no reading of the power came in time; give --energy-seconds more"


class Device(NamedTuple):
    """The device around the measurement.

    Attributes:
        before, after: as it was.
        source: where power was read from.
        energy: by exit; None for one during which no power could be read. Empty where there is no source.
    """

    before: DeviceState
    after: DeviceState
    source: Source
    energy: Mapping[str, Optional[Energy]]

    def to_json(self) -> Dict[str, object]:
        """The part of the document that is the device's."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "power_source": self.source.name,
            "no_power_because": self.source.why,
        }

    def energy_json(self, name: str) -> Optional[Dict[str, object]]:
        """What an inference up to this exit costs; None where nobody knows."""
        energy = self.energy.get(name)
        if energy is None:
            return None
        return {
            "millijoules": energy.millijoules,
            "watts": energy.watts,
            "millijoules_by_rail": dict(energy.rails),
            "frames": energy.frames,
            "seconds": energy.seconds,
            "readings": energy.readings,
        }


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the device's telemetry has."""
    parser.add_argument(
        "--energy-seconds",
        type=positive,
        default=SECONDS,
        metavar="S",
        help=f"where the device tells its power, run every exit so long for the energy of an inference (default {SECONDS:g})",
    )
    # For tests, which have no Jetson: where /proc, /sys and /etc are looked for.
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)


def measure_exits(
    args: argparse.Namespace,
    bundle: Bundle,
    variants: Mapping[str, str],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
) -> Tuple[Source, Dict[str, Optional[Energy]]]:
    """What an inference up to each exit costs, each by itself: frames that end there, one right after the other."""
    source = find_source(args.root)
    found: Dict[str, Optional[Energy]] = {}
    if source.name is None:
        return source, found
    for network, given in inputs.items():
        manifest = bundle.manifest.only(network) if network else bundle.manifest
        own = {stage.name: variants[stage.name] for stage in manifest.stages}
        for stage in manifest.stages:
            if stage.exit is not None:
                found[stage.name] = _measure_exit(args, bundle, source, network, stage.name, own, given)
    return source, found


def _measure_exit(
    args: argparse.Namespace,
    bundle: Bundle,
    source: Source,
    network: str,
    stage: str,
    variants: Mapping[str, str],
    given: Mapping[str, np.ndarray],
) -> Optional[Energy]:
    with open_session(args, bundle.path, variants, (FixedStage(stage),), network or None) as session:

        def frame() -> object:
            return session.infer(budget_ms=None, overrun="finish", reuse=False, **given)

        return measure_energy(source, frame, args.energy_seconds, args.root)


def device_lines(device: Device) -> List[str]:
    """The device for people: one line a reading, and the energy by exit."""
    lines = [
        f"Device {when}: {_state(state)}"
        for when, state in (("before", device.before), ("after", device.after))
    ]
    if device.source.name is None:
        return [*lines, f"Energy: unknown ({device.source.why})"]
    rows = [
        [name, *(["unknown"] * 4 if energy is None else _energy(energy))]
        for name, energy in device.energy.items()
    ]
    lines.append(f"Energy of {ENERGY} ({device.source.name})")
    lines += table(["exit", "mJ", "W", "frames", "readings"], rows)
    if any(energy is None for energy in device.energy.values()):
        lines.append(NO_READING)
    return lines


def _energy(energy: Energy) -> List[str]:
    return [f"{energy.millijoules:.1f}", f"{energy.watts:.2f}", str(energy.frames), str(energy.readings)]


def _state(state: DeviceState) -> str:
    mode = state.power_mode
    heat = max(state.temperatures.values()) if state.temperatures else None
    parts = {
        "power mode": None if mode is None else mode.name or str(mode.number),
        "GPU": None if state.gpu_mhz is None else f"{state.gpu_mhz:.0f} MHz",
        "memory": None if state.memory_mhz is None else f"{state.memory_mhz:.0f} MHz",
        "CPUs": None if state.cpu_mhz is None else "{:.0f} to {:.0f} MHz".format(*state.cpu_mhz),
        "hottest": None if heat is None else f"{heat:.0f} C",
        "power": None if state.power is None or state.power.total is None else f"{state.power.total:.2f} W",
    }
    return (
        ", ".join(f"{name} {text}" for name, text in parts.items() if text is not None)
        or "tells nothing of itself"
    )
