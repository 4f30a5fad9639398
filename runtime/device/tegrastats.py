"""What a line of NVIDIA's `tegrastats` says, from L4T 32 to 38: power by rail, clocks, temperatures; whatever else is in it.

Every release writes its lines a little differently, and programs write between them: only what is recognised counts.
"""

import re
from typing import Mapping, NamedTuple, Optional

from edgekit.runtime.device.jetson import DEAD_SENSOR
from edgekit.runtime.device.power import Power, power_of

# `VDD_IN 3056/3056` and, from L4T 35 on, `VDD_IN 5299mW/5299mW`: now, and the mean since it was started; `RAM 1/2MB` is none.
RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]{1,31}) (\d{1,7})(?:mW)?/\d{1,7}(?:mW)?(?:/\d{1,7}(?:mW)?)?(?!\S)")
TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9_]{0,31})@(-?\d{1,3}(?:\.\d{1,4})?)C(?![A-Za-z])")
# `GR3D_FREQ 62%@306`, `GR3D_FREQ 12%@[1300,1300]`, and without a clock where the caller is not root.
CLOCK = re.compile(r"(?<!\S)(GR3D_FREQ|EMC_FREQ) (\d{1,3})%(?:@\[?(\d{1,5}))?")
NO_READING = -256.0  # degrees that a sensor reports that is switched off


class Tegrastats(NamedTuple):
    """One line; what it does not say is None or absent.

    Attributes:
        power: watts by rail.
        gpu_mhz, memory_mhz: clocks.
        gpu_busy: share of the last interval in which the GPU worked.
        temperatures: degrees Celsius by sensor.
    """

    power: Optional[Power]
    gpu_mhz: Optional[float]
    gpu_busy: Optional[float]
    memory_mhz: Optional[float]
    temperatures: Mapping[str, float]


def parse_line(line: str) -> Optional[Tegrastats]:
    """What one line says; None for a line that is not tegrastats'."""
    clocks = {match.group(1): match for match in CLOCK.finditer(line)}
    rails = {match.group(1): float(match.group(2)) / 1e3 for match in RAIL.finditer(line)}
    degrees = {match.group(1): float(match.group(2)) for match in TEMPERATURE.finditer(line)}
    if "GR3D_FREQ" not in clocks:  # every release's lines have it, and nothing else does
        return None
    return Tegrastats(
        power_of(rails),
        _mhz(clocks.get("GR3D_FREQ")),
        int(clocks["GR3D_FREQ"].group(2)) / 100.0,
        _mhz(clocks.get("EMC_FREQ")),
        {name: value for name, value in degrees.items() if name != DEAD_SENSOR and value != NO_READING},
    )


def _mhz(match: "Optional[re.Match[str]]") -> Optional[float]:
    return None if match is None or match.group(3) is None else float(match.group(3))
