"""What a measured profile or a built engine is valid for: this device, in this power mode, with these libraries."""

import hashlib
import json
import os
import platform
import re
from typing import Dict, Mapping, NamedTuple

UNKNOWN = "unknown"


class Fingerprint(NamedTuple):
    """Everything that changes how long a stage takes or whether an engine loads; ``unknown`` where it cannot be read.

    Attributes:
        module: the Jetson's name, or ``unknown``.
        sm: CUDA compute capability, such as ``7.2``.
        tensorrt, cuda, l4t: versions.
        power_mode: of nvpmodel.
        processor: model of the CPU.
        threads: that a stage may use.
        backend: name and version of what runs the stages, with its providers.
    """

    module: str
    sm: str
    tensorrt: str
    cuda: str
    l4t: str
    power_mode: str
    processor: str
    threads: str
    backend: str

    def to_json(self) -> Dict[str, str]:
        """The fields by name."""
        return dict(self._asdict())

    @property
    def key(self) -> str:
        """A file name: readable, and different for every fingerprint."""
        digest = hashlib.sha256(json.dumps(list(self)).encode("utf-8")).hexdigest()[:12]
        machine = self.module if self.module != UNKNOWN else self.processor
        return re.sub(r"[^a-z0-9.]+", "-", f"{machine} {self.backend}".lower()).strip("-")[:60] + "-" + digest


def read_fingerprint(
    backend: str, threads: object, root: str = "/", known: Mapping[str, object] = {}
) -> Fingerprint:
    """The fingerprint of this device.

    Args:
        backend: such as ``onnxruntime 1.10.0 CPUExecutionProvider``.
        threads: of the backend; None where it has none of its own.
        root: where the system's files are read from.
        known: what the backend itself knows of ``sm``, ``tensorrt``, ``cuda`` and ``gpu``, for where no file tells.
    """
    from edgekit.runtime.device.jetson import read_jetson

    jetson = read_jetson(root)
    mode = jetson.power_mode if jetson is not None else None
    return Fingerprint(
        module=(jetson and (jetson.module or jetson.model)) or str(known.get("gpu", UNKNOWN)),
        sm=str(known.get("sm") or (jetson and jetson.sm) or UNKNOWN),
        tensorrt=str(known.get("tensorrt", UNKNOWN)),
        cuda=(jetson and jetson.cuda) or str(known.get("cuda", UNKNOWN)),
        l4t=(jetson and jetson.l4t) or UNKNOWN,
        power_mode=UNKNOWN if mode is None else mode.name or str(mode.number),
        processor=_read_processor(root),
        threads=UNKNOWN if threads is None else str(threads),
        backend=backend,
    )


def fingerprint_of(name: str, version: str, settings: Mapping[str, object], root: str = "/") -> Fingerprint:
    """The fingerprint of this device with a backend of this name, version and settings."""
    providers = settings.get("providers")
    parts = [name, version] + [
        str(one) for one in (providers if isinstance(providers, (list, tuple)) else ())
    ]
    return read_fingerprint(" ".join(parts), settings.get("threads"), root, settings)


def differences(ours: Fingerprint, others: Fingerprint) -> str:
    """What is not the same, as ``TensorRT 8.2.1 -> 8.5.2, power mode MAXN -> 15W``; from ``others`` to ``ours``."""
    names = {"tensorrt": "TensorRT", "cuda": "CUDA", "l4t": "L4T", "sm": "SM", "power_mode": "power mode"}
    changed = {
        name: f"{names.get(name, name)} {was} -> {now}"
        for name, was, now in zip(Fingerprint._fields, others, ours)
        if was != now
    }
    if "tensorrt" in changed:
        changed.pop("backend", None)  # says the same once more
    return ", ".join(changed.values())


def _read_processor(root: str) -> str:
    """The CPU's model: x86 names it, ARM gives the numbers of implementer and part."""
    try:
        with open(os.path.join(root, "proc/cpuinfo"), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return platform.machine() or UNKNOWN
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    if name:
        return name.group(1).strip()
    numbers = [re.search(rf"^CPU {key}\s*:\s*(\S+)$", text, re.MULTILINE) for key in ("implementer", "part")]
    found = [match.group(1) for match in numbers if match]
    return f"{platform.machine()} {' '.join(found)}".strip() or UNKNOWN
