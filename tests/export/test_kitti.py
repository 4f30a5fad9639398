"""The authors' own weights on two real road scenes: the bundle's graphs make the errors that the authors' network makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest

import edgekit
from edgekit.bundle import Bundle
from edgekit.models.staged import IMAGENET_MEAN, IMAGENET_STD

HEIGHT, WIDTH = 368, 1232  # the bottom right of the picture, which the authors evaluate
# Mean absolute error in px after each stage, of a float32 run of the authors' network.
KNOWN = {"kitti2015_000000": (1.59, 1.46, 1.22, 1.13), "kitti2015_000001": (1.89, 1.50, 1.22, 1.12)}


@pytest.fixture(scope="module")
def kitti_bundle(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return edgekit.export(
        model="anynet",
        checkpoint=shared / "data" / "anynet" / "kitti2015_checkpoint.tar",
        size=(HEIGHT, WIDTH),
        out=tmp_path_factory.mktemp("kitti") / "anynet.edgekit",
        parity=False,
    )


def _exits(bundle: Bundle, left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    known, exits = {"left": left, "right": right}, []
    for stage in bundle.manifest.stages:
        graph = next(v.graph for v in stage.variants if v.name == stage.defaults["onnxruntime"])
        session = onnxruntime.InferenceSession(bundle.read_bytes(graph), providers=["CPUExecutionProvider"])
        results = session.run(
            [spec.name for spec in stage.outputs], {name: known[name] for name in stage.inputs}
        )
        known.update(zip((spec.name for spec in stage.outputs), results, strict=True))
        exits.append(known[str(stage.exit)][0, 0])
    return exits


@pytest.mark.slow
@pytest.mark.parametrize("frame", KNOWN)
def test_errors_are_within_two_hundredths_of_a_pixel_of_the_known_ones(
    shared: Path, kitti_bundle: Bundle, needs: Callable[[str], ModuleType], frame: str
) -> None:
    left, right, truth = scene(needs("cv2"), shared / "data" / "stereo" / frame)
    errors = disparity_errors(_exits(kitti_bundle, left, right), truth)
    assert errors == pytest.approx(KNOWN[frame], abs=0.02)


def scene(cv2: ModuleType, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both pictures as the network reads them, and the true disparity in px, 0 where it is not known."""

    def tensor(name: str) -> np.ndarray:
        picture = cv2.imread(str(folder / name))[-HEIGHT:, -WIDTH:, ::-1].astype(np.float32) / 255
        normal = (picture - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])

    truth = cv2.imread(str(folder / "disp_occ.png"), cv2.IMREAD_UNCHANGED)[-HEIGHT:, -WIDTH:]
    return tensor("left.png"), tensor("right.png"), truth.astype(np.float32) / 256


def disparity_errors(exits: Iterable[np.ndarray], truth: np.ndarray) -> list[float]:
    """The mean absolute error of every exit, in px."""
    return [float(np.abs(np.squeeze(d) - truth)[truth > 0].mean()) for d in exits]
