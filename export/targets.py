"""The devices that a bundle can be made for: what their software reads, and where that is written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgekit.errors import OptionError, meant

_L4T_MAP = "rbonghi/jetson_stats jtop/core/jetson_variables.py @f41d5cadfeafc3516ff8cb7ddd5712cfa9a78611"
_ONNX_TENSORRT = (
    "onnx/onnx-tensorrt docs/operators.md of the TensorRT release (commit in facts/tensorrt_ops.json)"
)


@dataclass(frozen=True)
class Target:
    """One device profile.

    Attributes:
        name: what ``--target`` takes.
        summary: which devices it covers.
        opset: the newest ONNX operator set that its software reads. Bundles are written at opset 13, which all of them read.
        tensorrt: the TensorRT whose parser every graph must pass; None for a device without TensorRT.
        python: the oldest Python of its operating system, in which the bundle must run.
        jetpack: the JetPack that the figures belong to.
        note: what a user of this device should know.
        sources: where the figures come from.
        int8: whether it computes in INT8; for a group of devices, whether any of them does.
        dla: whether it has deep learning accelerators.
        capability: of the desktop GPU that engines are compiled for at export, such as ``86``; None: on the device.
    """

    name: str
    summary: str
    opset: int
    tensorrt: str | None
    python: str
    jetpack: str | None
    note: str
    sources: tuple[str, ...]
    int8: bool = True
    dla: bool = False
    capability: str | None = None


_JETPACK_4_6 = (
    f"L4T map: {_L4T_MAP}; gist Tiryoh/2b5dc1f8 (JetPack 4.6.1: TensorRT 8.2.1, CUDA 10.2); velog everglow83 (Python 3.6.9)",
    _ONNX_TENSORRT,
)
_JETPACK_5_1 = (
    "developer.nvidia.com/embedded/jetpack-sdk-512, jetpack-sdk-514",
    f"L4T map: {_L4T_MAP}",
    _ONNX_TENSORRT,
)
_JETPACK_6_2 = (
    "docs.pytorch.org/TensorRT getting_started/jetpack (6.2: TensorRT 10.3, CUDA 12.6)",
    f"L4T map: {_L4T_MAP}",
    _ONNX_TENSORRT,
)
_TENSORRT_RTX = ("tensorrt_rtx.ComputeCapability of TensorRT-RTX 1.7.1",)
_AHEAD = "engines compiled at export by TensorRT-RTX; the robot needs tensorrt-rtx-cu12 and pycuda"
_TARGETS = (
    Target(
        "jetson", "any Jetson from TX2 and Nano to Orin", 13, "8.2", "3.6", "4.6.1 and newer",
        "the oldest of everything, so that one bundle runs on all of them", _JETPACK_4_6,
    ),
    Target(
        "jetson-tx2", "Jetson TX2, TX2 NX, TX2i", 13, "8.2", "3.6", "4.6.1 to 4.6.6",
        "FP32 and FP16 only; JetPack 4.6 is its last", _JETPACK_4_6, int8=False,
    ),
    Target("jetson-nano", "Jetson Nano", 13, "8.2", "3.6", "4.6.1 to 4.6.6", "JetPack 4.6 is its last", _JETPACK_4_6,
           int8=False),
    Target(
        "jetson-xavier", "Jetson AGX Xavier", 17, "8.5", "3.8", "5.1 to 5.1.5",
        "INT8 and two deep learning accelerators; JetPack 5.1 is its last", _JETPACK_5_1, dla=True,
    ),
    Target(
        "jetson-xavier-nx", "Jetson Xavier NX", 17, "8.5", "3.8", "5.1 to 5.1.5",
        "INT8 and two deep learning accelerators; JetPack 5.1 is its last", _JETPACK_5_1, dla=True,
    ),
    Target(
        "jetson-orin", "Jetson AGX Orin, Orin NX, Orin Nano", 20, "10.3", "3.10", "6.1 to 6.2.1",
        "a device that is still on JetPack 5.1 takes the target jetson-xavier", _JETPACK_6_2, dla=True,
    ),
    Target("cpu", "any computer with ONNX Runtime 1.10 or newer", 15, None, "3.6", None,
           "no TensorRT: operators are checked by ONNX Runtime alone", ("onnxruntime.ai/docs/reference/compatibility.html",)),
    *(
        Target(
            f"rtx-sm{capability}", f"robots with a desktop GPU of compute capability {number}: {gpus}", 20, None, "3.8", None, note,
            _TENSORRT_RTX, capability=capability,
        )
        for capability, number, gpus, note in (
            ("75", "7.5", "GeForce RTX 20, T4", "engines compiled at export; products in float16, for TensorRT-RTX has no others here"),
            ("80", "8.0", "A100, A30", _AHEAD),
            ("86", "8.6", "GeForce RTX 30, RTX A2000", _AHEAD),
            ("89", "8.9", "GeForce RTX 40, RTX 4000 Ada", _AHEAD),
            ("120", "12.0", "GeForce RTX 50", _AHEAD),
        )
    ),
)  # fmt: skip


def targets() -> tuple[Target, ...]:
    """Every target, the most general first."""
    return _TARGETS


def find(name: str) -> Target:
    """The target of this name.

    Raises:
        OptionError: there is none.
    """
    for target in _TARGETS:
        if target.name == name:
            return target
    names = [target.name for target in _TARGETS]
    raise OptionError(f"target {name!r} is unknown{meant(name, names)}; edgekit knows {', '.join(names)}")


def to_json(target: Target) -> dict[str, object]:
    """The target as ``edgekit targets --json`` prints it."""
    return asdict(target)
