"""What a Jetson draws right now, by rail: its INA3221 sensors, read from plain files, where each L4T release puts them.

L4T 32 has a driver of its own (``ina3221x``, power in mW); from L4T 34 on it is the kernel's (``ina3221``, a hwmon with mV and
mA). What cannot be read is None, never 0: a rail of 0 W is one that says so.
"""

import re
from typing import Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from edgekit.runtime.device.system import listed, read_number, read_text

OLD, NEW = "sys/bus/i2c/drivers/ina3221x", "sys/bus/i2c/drivers/ina3221"
NOT_CONNECTED = "NC"
# Rails that feed the whole module, and those that together do where no rail feeds it alone (AGX Xavier): energymon's table of
# NVIDIA's device trees, jetson/JetsonPowerRails.md @4bcb29c. On other modules nobody says what adds up, so nothing is added.
WHOLE = ("VDD_IN", "POM_5V_IN", "5V_IN")
TOGETHER = ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")


class Power(NamedTuple):
    """One reading.

    Attributes:
        rails: watts by the rail's name; None for one that cannot be read.
        total: watts of the module; None where no rail tells.
        total_of: the rails that ``total`` comes from.
    """

    rails: Mapping[str, Optional[float]]
    total: Optional[float]
    total_of: Tuple[str, ...]

    def to_json(self) -> Dict[str, object]:
        """The reading under names that carry their unit."""
        return {"rails_w": dict(self.rails), "total_w": self.total, "total_of": list(self.total_of)}


def read_power(root: str = "/") -> Optional[Power]:
    """What the sensors say now; None where there are none that may be read."""
    return power_of(dict(list(_old(root)) + list(_new(root))))


def power_of(rails: Mapping[str, Optional[float]]) -> Optional[Power]:
    """A reading of these rails, in watts by name, with the module's total where they tell it; None without any rail."""
    if not rails:
        return None
    whole = [name for name in WHOLE if name in rails][:1]
    parts = tuple(whole) or (TOGETHER if set(TOGETHER) <= set(rails) else ())
    watts = [rails[name] for name in parts]
    known = [value for value in watts if value is not None]
    total = sum(known) if parts and len(known) == len(watts) else None
    return Power(rails, total, parts)


def _old(root: str) -> Iterator[Tuple[str, Optional[float]]]:
    for folder in _folders(root, OLD, r"iio:device\d+"):
        for channel in range(3):
            name = read_text(root, f"{folder}/rail_name_{channel}")
            if name and name != NOT_CONNECTED:
                milliwatts = read_number(root, f"{folder}/in_power{channel}_input")
                yield name, None if milliwatts is None else milliwatts / 1e3


def _new(root: str) -> Iterator[Tuple[str, Optional[float]]]:
    for device in _folders(root, NEW, r"hwmon"):
        for hwmon in listed(root, device):
            for channel in (1, 2, 3):  # 7 is the sum of shunt voltages, and no rail
                folder = f"{device}/{hwmon}"
                name = read_text(root, f"{folder}/in{channel}_label")
                if name and name != NOT_CONNECTED:
                    millivolts = read_number(root, f"{folder}/in{channel}_input")
                    milliamperes = read_number(root, f"{folder}/curr{channel}_input")
                    if millivolts is None or milliamperes is None:
                        yield name, None
                    else:
                        yield name, millivolts * milliamperes / 1e6


def _folders(root: str, driver: str, pattern: str) -> Iterator[str]:
    """The folders of this pattern in those of the driver's devices, such as ``1-0040``."""
    for device in listed(root, driver):
        if re.fullmatch(r"\d+-[0-9a-f]{4}", device):
            for name in listed(root, f"{driver}/{device}"):
                if re.fullmatch(pattern, name):
                    yield f"{driver}/{device}/{name}"
