"""What may change on a device while something is measured: power mode, clocks, temperatures; and what to say if it did."""

from typing import Dict, List, Mapping, NamedTuple, Optional

from edgekit.runtime.device.jetson import PowerMode, read_jetson
from edgekit.runtime.device.power import Power, read_power
from edgekit.runtime.device.system import read_number, read_processors

MOVED = 0.05  # share of a clock by which it may differ between two readings
WARMER = 10.0  # degrees Celsius
MEMORY_CLOCK = (
    "sys/kernel/debug/bpmp/debug/clk/emc/rate",
    "sys/kernel/debug/clk/emc/clk_rate",
)  # readable by root only


class DeviceState(NamedTuple):
    """One reading; whatever this device does not tell is None or empty.

    Attributes:
        power_mode: nvpmodel's.
        gpu_mhz, memory_mhz: clocks now.
        cpu_mhz: of the slowest and the fastest CPU that is on.
        temperatures: degrees Celsius by sensor.
        power: watts by rail.
    """

    power_mode: Optional[PowerMode]
    gpu_mhz: Optional[float]
    memory_mhz: Optional[float]
    cpu_mhz: Optional[List[float]]
    temperatures: Mapping[str, float]
    power: Optional[Power]

    def to_json(self) -> Dict[str, object]:
        """The reading under names that carry their unit."""
        mode = self.power_mode
        return {
            "power_mode": None if mode is None else mode._asdict(),
            "gpu_mhz": self.gpu_mhz,
            "memory_mhz": self.memory_mhz,
            "cpu_mhz": self.cpu_mhz,
            "temperatures_c": dict(self.temperatures) or None,
            "power": None if self.power is None else self.power.to_json(),
        }


def read_state(root: str = "/") -> DeviceState:
    """The device as it is now."""
    jetson = read_jetson(root)
    cpu = read_processors(root).mhz
    memory = next(
        (hertz for hertz in (read_number(root, path) for path in MEMORY_CLOCK) if hertz is not None), None
    )
    return DeviceState(
        power_mode=None if jetson is None else jetson.power_mode,
        gpu_mhz=None if jetson is None else jetson.gpu_mhz,
        memory_mhz=None if memory is None else memory / 1e6,
        cpu_mhz=[min(cpu), max(cpu)] if cpu else None,
        temperatures={} if jetson is None else jetson.temperatures,
        power=None if jetson is None else read_power(root),
    )


def moved(before: DeviceState, after: DeviceState) -> List[str]:
    """What changed between two readings so much that the figures in between are of no one state; with what mends it."""
    found = []
    if before.power_mode != after.power_mode:
        found.append(
            f"the power mode changed from {_mode(before)} to {_mode(after)} meanwhile: these figures are of neither; measure again"
        )
    for name, was, now in (
        ("GPU's", before.gpu_mhz, after.gpu_mhz),
        ("memory's", before.memory_mhz, after.memory_mhz),
    ):
        if was and now and abs(now / was - 1.0) > MOVED:
            found.append(
                f"the {name} clock moved from {was:.0f} to {now:.0f} MHz meanwhile: fix it with `sudo jetson_clocks`, and look at"
                " `edgekit doctor` for heat"
            )
    hotter = {
        name: (before.temperatures[name], now)
        for name, now in after.temperatures.items()
        if name in before.temperatures and now - before.temperatures[name] > WARMER
    }
    if hotter:
        name = max(hotter, key=lambda sensor: hotter[sensor][1])
        was, now = hotter[name]
        found.append(
            f"{name} went from {was:.0f} to {now:.0f} C meanwhile: the device was cold when this began, and may be slower when it is"
            " warm; measure again, or longer"
        )
    return found


def _mode(state: DeviceState) -> str:
    return "unknown" if state.power_mode is None else state.power_mode.name or str(state.power_mode.number)
