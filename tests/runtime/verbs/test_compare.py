"""`edgekit compare`: the same bundle is not told apart from itself, a slower one is, and nonsense is refused in a sentence."""

import json

import numpy as np
import pytest

QUICK = ["--runs", "40", "--warmup", "3"]


def found(process, code=0):
    assert process.returncode == code, process.stderr
    return json.loads(process.stdout)


@pytest.fixture
def slower(own_stereo):
    """The stereo bundle, whose first stage adds up a large matrix product as well."""
    import onnx
    from onnx import helper, numpy_helper

    def change(files):
        graph = onnx.load_from_string(files["stages/stage1.plain.onnx"])
        (convolution,) = [node for node in graph.graph.node if node.op_type == "Abs"]
        convolution.output[0] = "before"
        matrix = np.random.RandomState(0).uniform(0.0, 1e-9, (700, 700)).astype(np.float32)
        graph.graph.initializer.append(numpy_helper.from_array(matrix, "matrix"))
        graph.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "none"))
        graph.graph.node.extend(
            [
                helper.make_node("ReduceMean", ["before"], ["mean"], keepdims=0),
                helper.make_node("Mul", ["matrix", "mean"], ["scaled"]),
                helper.make_node("MatMul", ["scaled", "matrix"], ["product"]),
                helper.make_node("MatMul", ["product", "matrix"], ["again"]),
                helper.make_node("ReduceMean", ["again"], ["little"], keepdims=0),
                helper.make_node("Add", ["before", "little"], ["disparity1"]),
            ]
        )
        return dict(files, **{"stages/stage1.plain.onnx": graph.SerializeToString()})

    return own_stereo(change)


def test_a_bundle_is_not_told_apart_from_itself(stereo, edgekit):
    both = found(edgekit("compare", stereo, stereo, "--json", *QUICK))
    base, other = both["measured"]
    assert base["ratios"] == {} and list(other["ratios"]) == ["stage1", "stage2", "stage3", "last exit"]
    ratio = other["ratios"]["last exit"]
    assert ratio["low"] <= ratio["middle"] <= ratio["high"] and 0.5 < ratio["middle"] < 2.0
    assert (
        other["answers_apart"] == {"mean_px": 0.0, "beyond_1_px": 0.0}
        and other["graph_bytes"] == base["graph_bytes"]
    )


def test_a_slower_bundle_is_told_and_stopped_by_the_gate(stereo, slower, edgekit):
    both = found(edgekit("compare", stereo, slower, "--max-ratio", "1.0", "--json", *QUICK), code=1)
    assert both["measured"][1]["ratios"]["stage1"]["verdict"] == "slower" and both["passed"] is False
    assert found(edgekit("compare", slower, stereo, "--max-ratio", "1.2", "--json", *QUICK))["passed"] is True


def test_two_measurements_are_compared_from_their_files(stereo, tmp_path, edgekit):
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    for path, threads in zip(files, ("1", "2")):
        options = ["--runs", "20", "--variants", "default", "--no-profile", "--threads", threads]
        assert edgekit("bench", stereo, *options, "--save", path).returncode == 0
    both = found(edgekit("compare", *files, "--json"))
    assert [one["name"] for one in both["measured"]] == ["before", "after"]
    assert any("separate measurements" in text for text in both["warnings"])
    assert any("another backend settings" in text for text in both["warnings"])
    assert "of before" in edgekit("compare", *files).stdout


def test_what_answers_another_question_is_refused(stereo, classifier, tmp_path, edgekit):
    (tmp_path / "no.json").write_text('{"exits": {}, "frames": [], "settings": {}}')
    (tmp_path / "other.json").write_text("[]")
    for arguments, said in (
        ([stereo], "nothing to compare with"),
        ([stereo, classifier], "answer different questions"),
        ([stereo, tmp_path / "no.json"], "cannot be compared"),
        ([tmp_path / "no.json", tmp_path / "no.json"], "holds no frames"),
        ([tmp_path / "other.json", tmp_path / "no.json"], "is not what `edgekit bench --save FILE` writes"),
    ):
        process = edgekit("compare", *arguments)
        assert process.returncode == 2 and said in process.stderr and "Traceback" not in process.stderr
