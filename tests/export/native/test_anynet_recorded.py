"""AnyNet in edgekit's kernels gives the golden vectors, and the errors that the authors' network makes on road scenes."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import edgekit
from edgekit.bundle import Bundle
from edgekit.export.native import NATIVE
from edgekit.kernels import Kernels
from edgekit.program import decode
from tests.export.test_kitti import HEIGHT, KNOWN, WIDTH, disparity_errors, scene


def exits(kernels: Kernels, bundle: Bundle, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every stage's answer, each stage on what the programs before it have written."""
    known, found = dict(inputs), {}
    for stage in bundle.manifest.stages:
        graph = next(one.graph for one in stage.variants if one.name == NATIVE)
        program = decode(bundle.read_bytes(graph), graph)
        shapes = {spec.name: spec.shape for spec in stage.outputs}
        handle = kernels.load(program, [shapes[name] for name in program.outputs], graph)
        written = kernels.run(handle, [known[name] for name in program.inputs])
        assert written is not None
        known.update(zip(program.outputs, written, strict=True))
        if stage.exit is not None:
            found[stage.name] = known[stage.exit]
    return found


@pytest.mark.slow
def test_every_golden_case_is_met(kernels: Kernels, shared: Path, tmp_path: Path) -> None:
    cases = sorted((shared / "golden").glob("anynet_*.json"))
    assert cases
    for case in cases:
        spec = json.loads(case.read_text())
        arrays = np.load(case.with_suffix(".npz"))
        inputs = {name: arrays[name] for name in spec["inputs"]}
        bundle = edgekit.export(
            model="anynet", target="cpu", checkpoint=case.parent / spec["checkpoint"], size=inputs["left"].shape[2:],
            config=spec["config"], out=tmp_path / f"{case.stem}.edgekit", parity=False, measure=False,
        )  # fmt: skip
        for stage, answer in exits(kernels, bundle, inputs).items():
            beyond = float((np.abs(answer - arrays[stage]) > 2e-2).mean())
            assert beyond <= 1e-3, f"{case.name}: {beyond:.2%} of {stage} is further than 2e-2 px away"


@pytest.mark.slow
def test_errors_on_road_scenes_are_within_two_hundredths_of_a_pixel_of_the_known_ones(
    kernels: Kernels, shared: Path, tmp_path: Path, needs: Callable[[str], ModuleType]
) -> None:
    cv2 = needs("cv2")
    bundle = edgekit.export(
        model="anynet", target="cpu", checkpoint=shared / "data" / "anynet" / "kitti2015_checkpoint.tar",
        size=(HEIGHT, WIDTH), out=tmp_path / "anynet.edgekit", parity=False, measure=False,
    )  # fmt: skip
    for frame, known in KNOWN.items():
        left, right, truth = scene(cv2, shared / "data" / "stereo" / frame)
        answers = exits(kernels, bundle, {"left": left, "right": right})
        assert disparity_errors(answers.values(), truth) == pytest.approx(known, abs=0.02), frame
