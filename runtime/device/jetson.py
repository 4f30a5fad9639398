"""What an NVIDIA Jetson says about itself in plain files: module, software release, power mode, clocks, temperatures.

No root rights and no NVIDIA tool are needed. Everything is read under a root that tests replace; what cannot be read is
None or absent, never 0.
"""

import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgekit.runtime.device.system import listed, read_number, read_text

# L4T release -> JetPack, from rbonghi/jetson_stats, jtop/core/jetson_variables.py @f41d5ca.
JETPACK = {
    "32.4.3": "4.4", "32.4.4": "4.4.1", "32.5": "4.5", "32.5.1": "4.5.1", "32.6.1": "4.6", "32.7.1": "4.6.1",
    "32.7.2": "4.6.2", "32.7.3": "4.6.3", "32.7.4": "4.6.4", "32.7.5": "4.6.5", "32.7.6": "4.6.6", "34.1": "5.0 DP",
    "35.1": "5.0.2", "35.2.1": "5.1", "35.3.1": "5.1.1", "35.4.1": "5.1.2", "35.5.0": "5.1.3", "35.6.0": "5.1.4",
    "35.6.1": "5.1.5", "36.2.0": "6.0 DP", "36.3.0": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1",
    "36.5.0": "6.2.2", "38.2": "7.0", "38.4": "7.1", "39.2": "7.2",
}  # fmt: skip
# Part number in the device tree's `compatible` -> module.
MODULES = {
    "p3310-1000": "TX2", "p3489-0888": "TX2 4GB", "p3489-0000": "TX2i", "p3636-0001": "TX2 NX",
    "p3448-0000": "Nano 4GB", "p3448-0002": "Nano eMMC", "p3448-0003": "Nano 2GB",
    "p3668-0000": "Xavier NX devkit", "p3668-0001": "Xavier NX 8GB", "p3668-0003": "Xavier NX 16GB",
    "p2888-0001": "AGX Xavier 16GB", "p2888-0003": "AGX Xavier 32GB", "p2888-0004": "AGX Xavier 32GB",
    "p2888-0005": "AGX Xavier 64GB", "p2888-0006": "AGX Xavier 8GB", "p2888-0008": "AGX Xavier Industrial",
    "p3701-0000": "AGX Orin devkit", "p3701-0004": "AGX Orin 32GB", "p3701-0005": "AGX Orin 64GB",
    "p3767-0000": "Orin NX 16GB", "p3767-0001": "Orin NX 8GB", "p3767-0003": "Orin Nano 8GB",
    "p3767-0004": "Orin Nano 4GB", "p3767-0005": "Orin Nano devkit",
}  # fmt: skip
# System on chip -> CUDA compute capability, and where its GPU's clock lies in sysfs.
SM = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7"}
GPUS = ("17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "57000000.gpu")
LONGEST = 100  # letters of what a device tree calls its board
DEAD_SENSOR = "PMIC"  # reports a constant 100 C


class PowerMode(NamedTuple):
    """A mode of nvpmodel: its number for ``nvpmodel -m`` and its name."""

    number: int
    name: Optional[str]


class Jetson(NamedTuple):
    """A Jetson as it is now.

    Attributes:
        model: the device tree's own words.
        part: the module's part number, such as ``p3668-0001``; ``module``: the name that NVIDIA sells it under.
        soc: such as ``tegra194``; ``sm``: CUDA compute capability.
        l4t, jetpack, cuda: software releases.
        power_mode: the current one; ``power_modes``: all that there are.
        gpu_mhz, gpu_lowest_mhz, gpu_highest_mhz: the GPU's clock now, and the range in which its governor moves it.
        temperatures: degrees Celsius by sensor.
    """

    model: str
    part: Optional[str]
    module: Optional[str]
    soc: Optional[str]
    sm: Optional[str]
    l4t: Optional[str]
    jetpack: Optional[str]
    cuda: Optional[str]
    power_mode: Optional[PowerMode]
    power_modes: Tuple[PowerMode, ...]
    gpu_mhz: Optional[float]
    gpu_lowest_mhz: Optional[float]
    gpu_highest_mhz: Optional[float]
    temperatures: Mapping[str, float]


def read_jetson(root: str = "/") -> Optional[Jetson]:
    """The Jetson that this runs on; None on any other machine. A Jetson that nobody knows is read as far as it goes."""
    model = read_text(root, "proc/device-tree/model")
    compatible = read_text(root, "proc/device-tree/compatible") or ""
    if model is None or not ("jetson" in model.lower() or "nvidia,tegra" in compatible):
        return None
    part = _found(r"(p\d{4}-\d{4})(?!.*p\d{4}-\d{4})", compatible.split("\0")[0])
    soc = _found(r"nvidia,(tegra\d+)", compatible)
    l4t = _read_l4t(root)
    gpu = _gpu(root)
    modes = _read_power_modes(root)
    current = _found(r"pmode:0*(\d+)", read_text(root, "var/lib/nvpmodel/status") or "")
    names = {mode.number: mode.name for mode in modes}
    return Jetson(
        model="".join(letter if letter.isprintable() else " " for letter in model[:LONGEST]).strip(),
        part=part,
        module=MODULES.get(part or ""),
        soc=soc,
        sm=SM.get(soc or ""),
        l4t=l4t,
        jetpack=_jetpack(l4t),
        cuda=_read_cuda(root),
        power_mode=None if current is None else PowerMode(int(current), names.get(int(current))),
        power_modes=tuple(modes),
        gpu_mhz=_mhz(root, gpu, "cur_freq"),
        gpu_lowest_mhz=_mhz(root, gpu, "min_freq"),
        gpu_highest_mhz=_mhz(root, gpu, "max_freq"),
        temperatures=_read_temperatures(root),
    )


def fastest_mode(modes: Tuple[PowerMode, ...]) -> Optional[PowerMode]:
    """The mode with the most power: MAXN where there is one, else the most watts (and cores) in its name; None if unsure."""
    named = [mode for mode in modes if mode.name]
    for mode in sorted(named, key=lambda mode: len(mode.name or ""), reverse=True):  # MAXN_SUPER before MAXN
        if (mode.name or "").startswith("MAXN"):
            return mode
    rated = [mode for mode in named if _found(r"(\d+)W", mode.name or "")]
    return max(rated, key=_rank) if rated else None


def _rank(mode: PowerMode) -> Tuple[int, int]:
    name = mode.name or ""
    # ALL beats any number of cores: it names no number because nothing is switched off.
    cores = 99 if name.endswith("ALL") else int(_found(r"(\d+)CORE", name) or 0)
    return int(_found(r"(\d+)W", name) or 0), cores


def _read_l4t(root: str) -> Optional[str]:
    text = read_text(root, "etc/nv_tegra_release") or ""
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return f"{match.group(1)}.{match.group(2)}" if match else None


def _jetpack(l4t: Optional[str]) -> Optional[str]:
    if l4t is None:
        return None
    # The file writes 35.1.0 or 32.5.0 where others write 35.1 and 32.5.
    return JETPACK.get(l4t) or JETPACK.get(re.sub(r"\.0$", "", l4t))


def _read_cuda(root: str) -> Optional[str]:
    found = _found(r"CUDA Version ([\d.]+)", read_text(root, "usr/local/cuda/version.txt") or "")
    text = read_text(root, "usr/local/cuda/version.json") or ""
    return found or _found(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', text)


def _read_power_modes(root: str) -> List[PowerMode]:
    text = read_text(root, "etc/nvpmodel.conf") or ""
    found = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text, re.MULTILINE)
    return [PowerMode(int(number), name) for number, name in found]


def _gpu(root: str) -> Optional[str]:
    for name in GPUS:
        for folder in (f"sys/class/devfreq/{name}", f"sys/devices/{name}/devfreq/{name}"):
            if listed(root, folder):
                return folder
    return None


def _mhz(root: str, gpu: Optional[str], name: str) -> Optional[float]:
    hertz = None if gpu is None else read_number(root, f"{gpu}/{name}")
    return None if hertz is None else hertz / 1e6


def _read_temperatures(root: str) -> Dict[str, float]:
    found = {}
    for zone in listed(root, "sys/class/thermal"):
        name = read_text(root, f"sys/class/thermal/{zone}/type")
        value = read_number(root, f"sys/class/thermal/{zone}/temp")
        if name and value is not None and not name.startswith(DEAD_SENSOR):
            found[re.sub(r"[-_]therm(al)?$", "", name)] = value / 1000.0
    return found


def _found(pattern: str, text: str) -> Optional[str]:
    match = re.search(pattern, text, re.DOTALL)
    return match.group(1) if match else None
