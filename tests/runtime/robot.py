"""A machine with TensorRT, for tests: the doubles of `tensorrt` and `pycuda` where imports find them."""

from typing import Any, Dict, NamedTuple

import pytest

from tests import pycuda_double, tensorrt_double
from tests.pycuda_double import Gpu

# What the robots have: TX2 on JetPack 4.6.1, Xavier on 5.1, Orin on 6.2, and the release that comes next.
RELEASES = ("8.2", "8.5", "10.3", "11.0")
EVERY_RELEASE = tuple(tensorrt_double.API)


class Robot(NamedTuple):
    """A GPU and a TensorRT; ``trt.behaviour`` is what a test turns."""

    gpu: Gpu
    trt: Any


def robot(monkeypatch: pytest.MonkeyPatch, release: str = "8.2", patch: str = "1", **gpu: Any) -> Robot:
    """Put the doubles in place until the test is over."""
    device = Gpu(**gpu)
    modules: Dict[str, Any] = {}
    pycuda_double.install(device, modules)
    library = tensorrt_double.make(release, device, patch)
    tensorrt_double.install(library, modules)
    for name, module in modules.items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    return Robot(device, library)
