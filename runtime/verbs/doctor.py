"""`edgekit doctor`: what this device is, what is installed, what makes it slow right now, and the command that mends it."""

import argparse
import platform
import time
from contextlib import suppress
from importlib import import_module
from typing import Dict, List, NamedTuple, Optional, Tuple

from edgekit import __version__
from edgekit.bundle import read_bundle
from edgekit.errors import BackendError
from edgekit.kernels import compiling
from edgekit.runtime.device.jetson import Jetson, fastest_mode, read_jetson
from edgekit.runtime.device.power import Power, read_power
from edgekit.runtime.device.priority import ALLOW, may_be_realtime
from edgekit.runtime.device.system import Processors, read_load, read_processors, read_text
from edgekit.runtime.device.telemetry import UNREADABLE, find_source, watched
from edgekit.runtime.guess import told
from edgekit.runtime.report import print_json, say

BACKENDS = ("onnxruntime", "openvino", "tensorrt")
HOT = 85.0  # degrees Celsius: Jetsons begin to throttle a little above
SLOW_SHARE = 0.9  # a clock below this share of its maximum counts as slow
UNKNOWN = "unknown"
TEGRASTATS_SECONDS = 0.5  # until its first lines are there
MAKE_READABLE = "sudo chmod -R a+rX /sys/bus/i2c/drivers/ina3221*/"


class Finding(NamedTuple):
    """Something that makes this device slow or edgekit useless on it, and what mends it."""

    what: str
    mend: Optional[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    # For tests, which have no Jetson: where /proc, /sys and /etc are looked for.
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Examine this device and print what was found."""
    software = read_software()
    processors = read_processors(args.root)
    jetson = read_jetson(args.root)
    power, why = (None, None) if jetson is None else read_power_now(args.root)
    load = read_load(args.root)
    findings = examine(software, processors, jetson, load)
    if why == UNREADABLE:
        findings.append(Finding("what this device draws is hidden from you", MAKE_READABLE))
    bundle = None if args.bundle is None else _examine_bundle(args.bundle, findings)
    if args.json:
        print_json(
            {
                "edgekit": __version__,
                "software": software,
                "processors": processors._asdict(),
                "load": load,
                "memory": _read_memory(args.root),
                "realtime": may_be_realtime(),
                "jetson": None if jetson is None else _jetson_json(jetson),
                "power": None if power is None else power.to_json(),
                "bundle": bundle,
                "findings": [finding._asdict() for finding in findings],
            }
        )
        return 0
    say(_software_lines(software) + _machine_lines(processors, load, args.root))
    say(_jetson_lines(jetson, power) if jetson else ["Jetson         no"])
    if bundle is not None:
        say(
            [
                f"bundle         {bundle['name']} for {bundle['target']}, fingerprint {bundle['fingerprint'] or UNKNOWN}"
            ]
        )
    say([""] + (_finding_lines(findings) or ["Nothing found that makes this device slow."]))
    return 0


def read_power_now(root: str) -> Tuple[Optional[Power], Optional[str]]:
    """One reading of the power, from the sensors' files or from tegrastats, and why there is none of the whole module."""
    source = find_source(root)
    if source.program is not None:
        _, readings = watched(source, lambda: time.sleep(TEGRASTATS_SECONDS), root)
        if readings:
            return readings[-1], None
    return read_power(root), source.why


def read_software() -> Dict[str, Optional[str]]:
    """Versions of what edgekit can use here; None for what is not installed or does not load."""
    found: Dict[str, Optional[str]] = {"python": platform.python_version(), "system": platform.platform()}
    for name in ("numpy", *BACKENDS, "cv2", "PIL"):
        try:
            found[name] = str(getattr(import_module(name), "__version__", UNKNOWN))
        except Exception:  # a package built for another machine fails in its own way when it is loaded
            found[name] = None
    found["providers"] = None
    if found["onnxruntime"] is not None:
        found["providers"] = ", ".join(import_module("onnxruntime").get_available_providers())
    found["compiler"] = found["native"] = None
    with suppress(BackendError):
        compiler = compiling.find_compiler()
        found["compiler"] = f"{compiler.name} ({' '.join(compiler.command)})"
        state = "built" if compiling.is_built(compiler) else "built when they are first used"
        found["native"] = f"kernels {compiling.version()}, {state}"
    return found


def examine(
    software: Dict[str, Optional[str]],
    processors: Processors,
    jetson: Optional[Jetson],
    load: Optional[float],
) -> List[Finding]:
    """Everything that makes this device slow, worst first."""
    found = []
    if all(software[name] is None for name in BACKENDS):
        lost = (
            "no network can run"
            if software["native"] is None
            else "only bundles with programs for native can run"
        )
        found.append(Finding(f"no backend is installed, so {lost}", "pip3 install onnxruntime"))
    if jetson is not None:
        found += _examine_jetson(jetson)
    if processors.online and processors.present and processors.online < processors.present:
        mend = None if jetson is None else _mode_command(jetson)
        what = f"{processors.present - processors.online} of {processors.present} CPUs are switched off"
        found.append(Finding(what, mend))
    slow = [name for name in processors.governors if name != "performance"]
    if slow:
        mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        what = "the CPU governor is {}: clocks fall between frames, and the next frame starts slowly".format(
            "/".join(slow)
        )
        found.append(Finding(what, "sudo jetson_clocks" if jetson is not None else mend))
    if load is not None and load > 0.5 * processors.usable:
        what = f"other programs keep the CPU busy: load {load:.1f} on {processors.usable} CPUs"
        found.append(Finding(what, "stop what `top` shows"))
    return found


def _examine_jetson(jetson: Jetson) -> List[Finding]:
    found = []
    best = fastest_mode(jetson.power_modes)
    if best is not None and jetson.power_mode is not None and jetson.power_mode.number != best.number:
        name = jetson.power_mode.name or jetson.power_mode.number
        found.append(Finding(f"power mode {name} is not the fastest, {best.name} is", _mode_command(jetson)))
    now, highest = jetson.gpu_mhz, jetson.gpu_highest_mhz
    if now is not None and highest and jetson.gpu_lowest_mhz != highest:
        idle = "" if now >= SLOW_SHARE * highest else f", {now:.0f} now"
        what = f"the GPU's clock is not fixed ({jetson.gpu_lowest_mhz or 0:.0f} to {highest:.0f} MHz{idle})"
        found.append(Finding(what, "sudo jetson_clocks"))
    for name, degrees in jetson.temperatures.items():
        if degrees >= HOT:
            found.append(
                Finding(
                    f"{name} is at {degrees:.0f} C, close to throttling", "cool it: fan, heat sink, shade"
                )
            )
    return found


def _mode_command(jetson: Jetson) -> Optional[str]:
    best = fastest_mode(jetson.power_modes)
    return None if best is None else f"sudo nvpmodel -m {best.number} && sudo jetson_clocks"


def _examine_bundle(path: str, findings: List[Finding]) -> Dict[str, object]:
    """Load a bundle as it would be loaded to run, and add what is wrong with it here to ``findings``."""
    from edgekit.runtime.session import Session

    manifest = read_bundle(path).manifest
    found: Dict[str, object] = {
        "name": manifest.name,
        "target": manifest.target,
        "fingerprint": None,
        "profile": None,
        "guess": None,
    }
    try:
        with Session.open(path, warmup=0) as session:
            found["fingerprint"], found["profile"] = session.fingerprint.key, session.profile is not None
            found["guess"] = None if session.guess is None else told(session.fingerprint, session.guess)
    except BackendError as error:
        findings.append(Finding(f"{manifest.name} cannot run here: {error}", None))
    if found["profile"] is False:
        how = found["guess"] or "it runs default graphs, and predicts from its warm-up only"
        what = f"{manifest.name} was not measured on this device: {how}"
        findings.append(Finding(what, f"edgekit bench {path}"))
    return found


def _read_memory(root: str) -> Dict[str, Optional[int]]:
    """Total and available bytes of memory."""
    found: Dict[str, Optional[int]] = {"total_bytes": None, "available_bytes": None}
    for line in (read_text(root, "proc/meminfo") or "").splitlines():
        words = line.split()
        for key, name in (("MemTotal:", "total_bytes"), ("MemAvailable:", "available_bytes")):
            if words[:1] == [key] and len(words) > 1 and words[1].isdigit():
                found[name] = int(words[1]) * 1024
    return found


def _jetson_json(jetson: Jetson) -> Dict[str, object]:
    document = dict(jetson._asdict())
    document["power_mode"] = None if jetson.power_mode is None else jetson.power_mode._asdict()
    document["power_modes"] = [mode._asdict() for mode in jetson.power_modes]
    return document


def _software_lines(software: Dict[str, Optional[str]]) -> List[str]:
    lines = [f"edgekit        {__version__}"]
    for name, version in software.items():
        lines.append(f"{name.ljust(14)} {version or 'not installed'}")
    return lines


def _machine_lines(processors: Processors, load: Optional[float], root: str) -> List[str]:
    memory = _read_memory(root)
    total, free = (memory[key] for key in ("total_bytes", "available_bytes"))
    clocks = "/".join(sorted({f"{mhz:.0f}" for mhz in processors.mhz})) or UNKNOWN
    highest = UNKNOWN if processors.max_mhz is None else f"{processors.max_mhz:.0f}"
    return [
        f"CPU            {processors.model or UNKNOWN}",
        f"CPUs           {_known(processors.online)} online of {_known(processors.present)}, {processors.usable} usable here",
        "CPU governor   {}".format("/".join(processors.governors) or UNKNOWN),
        f"CPU clock      {clocks} MHz now, {highest} MHz at most",
        f"load           {UNKNOWN if load is None else format(load, '.2f')}",
        f"memory         {_gigabytes(total)} in all, {_gigabytes(free)} free",
        "real time      {}".format(
            "allowed" if may_be_realtime() else f"not allowed to this user: {ALLOW}, and log in again"
        ),
    ]


def _jetson_lines(jetson: Jetson, power: Optional[Power]) -> List[str]:
    mode = jetson.power_mode
    heat = ", ".join(f"{name} {degrees:.1f} C" for name, degrees in jetson.temperatures.items())
    return [
        f"Jetson         {jetson.module or jetson.model} ({jetson.part or UNKNOWN}, {jetson.soc or UNKNOWN})",
        f"SM             {jetson.sm or UNKNOWN}",
        f"L4T            {jetson.l4t or UNKNOWN} (JetPack {jetson.jetpack or UNKNOWN})",
        f"CUDA           {jetson.cuda or UNKNOWN}",
        f"power mode     {UNKNOWN if mode is None else f'{mode.number} {mode.name or UNKNOWN}'}",
        f"GPU clock      {_known(jetson.gpu_mhz)} MHz now, {_known(jetson.gpu_highest_mhz)} MHz at most",
        f"temperatures   {heat or UNKNOWN}",
        f"power          {UNKNOWN if power is None else _power(power)}",
    ]


def _power(power: Power) -> str:
    total = f"{power.total:.2f} W in all" if power.total is not None else f"{UNKNOWN} in all"
    rails = [
        f"{name} {UNKNOWN if watts is None else f'{watts:.2f} W'}" for name, watts in power.rails.items()
    ]
    return ", ".join([total, *rails])


def _finding_lines(findings: List[Finding]) -> List[str]:
    lines = []
    for finding in findings:
        lines.append(f"! {finding.what}")
        if finding.mend is not None:
            lines.append(f"    {finding.mend}")
    return lines


def _known(value: Optional[float]) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def _gigabytes(value: Optional[int]) -> str:
    return UNKNOWN if value is None else f"{value / 1e9:.2f} GB"
