"""AnyNet's programs compute what its stages compute in torch, with any options and of any size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgekit
from edgekit.errors import BackendError
from edgekit.export.lowering import PLAIN
from edgekit.export.native import NATIVE, add_programs
from edgekit.export.staging import StageRun, run_stages
from edgekit.kernels import Kernels
from edgekit.models.anynet import AnyNet, AnyNetOptions, StagedAnyNet, build
from edgekit.models.staged import Stage
from edgekit.program import Program, decode, steps_of
from tests.export.lowering.random_weights import maps, shaken
from tests.export.native.answers import agree


def stage_runs(staged: StagedAnyNet, seed: int = 0) -> list[StageRun]:
    shapes = {one.name: one.shape for one in staged.inputs}
    pictures = {name: maps(seed + at, *shape) for at, (name, shape) in enumerate(shapes.items())}
    return run_stages(staged, staged.stages(), pictures)


def programs(runs: list[StageRun]) -> list[Program]:
    names = [run.stage.name for run in runs]
    graphs: dict[str, dict[str, bytes]] = {name: {} for name in names}
    forms = {name: {"plain": PLAIN} for name in names}
    assert add_programs(runs, graphs, forms) == []
    assert all(forms[name][NATIVE].runtime == NATIVE for name in names)
    return [decode(graphs[name][NATIVE], name) for name in names]


def stages_agree(kernels: Kernels, staged: StagedAnyNet, seed: int, closely: float) -> list[Program]:
    """That every stage's program does, on the network's own tensors."""
    runs = stage_runs(staged, seed)
    made = programs(runs)
    for run, each in zip(runs, made, strict=True):
        agree(kernels, each, list(run.inputs.values()), list(run.outputs.values()), closely)
    return made


@settings(max_examples=12, deadline=None)
@given(
    channels=st.integers(1, 3), searched=st.tuples(*[st.integers(1, 6)] * 3), spn=st.sampled_from([0, 1, 3, 8]),
    blocks=st.integers(1, 3), layers=st.integers(0, 2), base=st.integers(1, 3), growth=st.tuples(*[st.integers(1, 3)] * 3),
    size=st.tuples(st.integers(32, 90), st.integers(32, 110)), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_stage_is_torchs_with_any_options_and_of_any_size(
    kernels: Kernels, channels: int, searched: tuple[int, int, int], spn: int, blocks: int, layers: int, base: int,
    growth: tuple[int, int, int], size: tuple[int, int], seed: int,
) -> None:  # fmt: skip
    options = AnyNetOptions(channels, searched, max(1, spn), blocks, layers, base, growth, with_spn=spn > 0)
    net = shaken(AnyNet(options), seed)
    assert isinstance(net, AnyNet)
    # A random network's softmax of large costs makes much of how sums are rounded.
    stages_agree(kernels, StagedAnyNet(net, size), seed, closely=1e-3)


@pytest.mark.parametrize("size", [(368, 1232), (64, 96)])
def test_the_shipped_network_is_torchs(kernels: Kernels, size: tuple[int, int]) -> None:
    made = stages_agree(kernels, build(None, {}, size), 1, closely=1e-4)
    assert max(4 * each.arena for each in made) < 8e6, "bytes of memory a stage"


def test_nothing_is_imported_or_copied_before_it_is_computed_on() -> None:
    for each in programs(stage_runs(build(None, {}, (48, 64)))):
        assert not {"import", "phases", "copy"} & {name for name, _ in steps_of(each)}


def test_two_pictures_are_no_pair_of_views(kernels: Kernels) -> None:
    """A pair is read where the program says so, as twice the channels; a picture stays one picture."""
    run = stage_runs(build(None, {}, (48, 64)))[1]
    (made,) = programs([run])
    handle = kernels.load(made, [tuple(each.shape) for each in run.outputs.values()], "stage2")
    disparity, coarser, skip = (x.numpy() for x in run.inputs.values())
    assert kernels.run(handle, [disparity, coarser, skip]) is not None
    with pytest.raises(
        BackendError, match="disparity1 is read as 1 x 1 x 48 x 64 float32, and is 2 x 1 x 48 x 64"
    ):
        kernels.run(handle, [np.concatenate([disparity, disparity]), coarser, skip])
    with pytest.raises(BackendError, match="features16"):
        kernels.run(handle, [disparity, coarser[:1], skip])


def test_a_size_that_stages_do_not_halve_is_refused_by_its_name() -> None:
    """Only who calls the modules himself comes to it: bundles fill pictures up."""
    whole = stage_runs(build(None, {}, (64, 64)))[-1]
    left, disparity = maps(1, 1, 3, 62, 64), maps(2, 1, 1, 62, 64)
    stage = Stage("stage1", whole.stage.module, ("left", "disparity"), ("out",), "out")
    run = StageRun(stage, {"left": left, "disparity": disparity}, {"out": disparity}, 0, 0)
    found = add_programs([run], {"stage1": {}}, {"stage1": {"plain": PLAIN}})
    assert len(found) == 1 and "62x64" in found[0] and NATIVE in found[0]


def test_a_bundle_on_the_kernels_is_the_bundle_in_onnx_runtime(
    kernels: Kernels, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("native") / "anynet.edgekit"
    bundle = edgekit.export("anynet", target="cpu", size=(75, 140), out=out, measure=False)
    assert all(NATIVE in [variant.name for variant in stage.variants] for stage in bundle.manifest.stages)
    generator = np.random.default_rng(5)
    left, right = generator.integers(0, 256, (2, 75, 140, 3), np.uint8)
    found = {}
    for backend in ("native", "onnxruntime"):
        with edgekit.load(str(out), backend=backend, threads=2) as session:
            found[backend] = session.infer(left=left, right=right).output
    assert found["native"].shape == (75, 140)
    np.testing.assert_allclose(found["native"], found["onnxruntime"], atol=2e-2)
