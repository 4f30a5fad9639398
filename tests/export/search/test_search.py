"""`edgekit search` on a tiny supernet: its sums hold, its front is exported by the commands it prints, and bad calls are told why."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgekit.bundle import read_bundle
from edgekit.cli import main
from edgekit.errors import OptionError
from edgekit.export.search.containers import U8, Grid
from edgekit.export.search.latency import HEAD, TAIL, Container, part_names, tabulate
from edgekit.export.search.searching import Request, search
from edgekit.models.oqa_space import largest, subnet_config
from tests.export.search.supernets import options, pictures, supernet


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    supernet(4, folder / "net.pth")
    pictures(folder / "data", 140)
    return folder


def _request(place: Path, **changed: object) -> Request:
    told: dict[str, object] = {
        "checkpoints": (str(place / "net.pth"),), "bits": None, "data": str(place / "data"), "budget_ms": 1e4,
        "target": "cpu", "size": (32, 32), "config": {"depth_list": [1, 2]}, "population": 4, "generations": 1,
        "judge_on": 60, "settle_on": 40, "test_on": 60, "seed": 0, "threads": 1,
    }  # fmt: skip
    return Request(**{**told, **changed})  # type: ignore[arg-type]


def _silent(text: str, done: bool = False) -> None: ...


@pytest.fixture(scope="module")
def found(place: Path) -> Path:
    search(_request(place), place / "found", False, _silent)
    return place / "found"


def test_the_front_is_on_disk_as_numbers_and_as_a_picture(found: Path) -> None:
    document = json.loads((found / "front.json").read_text())
    assert document["times"].startswith("measured: ONNX Runtime")
    assert document["judged"] == 8 and document["data"]["compared_on"] == 60
    accuracies = [point["accuracy"] for point in document["front"]]
    assert accuracies == sorted(accuracies) and all(point["ms"] > 0 for point in document["front"])
    drawn = cv2.imread(str(found / "front.png"))
    assert drawn is not None and np.ptp(drawn) > 100


def test_the_printed_command_exports_that_subnet(
    found: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = json.loads((found / "front.json").read_text())["front"][0]
    monkeypatch.chdir(place)
    words = shlex.split(point["command"])
    assert words[:2] == ["edgekit", "export"]
    assert main([*words[1:], "--no-parity", "--no-measure"]) == 0
    (bundle,) = place.glob("*.edgekit")
    manifest = read_bundle(str(bundle)).manifest
    assert manifest.options["subnet"] == point["subnet"] and manifest.inputs[0].shape == (1, 3, 32, 32)


def test_a_resumed_search_judges_nothing_twice_and_takes_no_other_options(found: Path, place: Path) -> None:
    before = json.loads((found / "search.json").read_text())
    search(_request(place, generations=2), found, True, _silent)
    after = json.loads((found / "search.json").read_text())
    assert after["judged"][:8] == before["judged"] and len(after["judged"]) == 12
    assert after["tables"] == before["tables"]
    with pytest.raises(OptionError, match=r"begun with other options: budget_ms was 10000\.0, now 5000\.0"):
        search(_request(place, budget_ms=5e3), found, True, _silent)
    with pytest.raises(OptionError, match="holds a search; go on with --resume"):
        search(_request(place), found, False, _silent)


def test_ctrl_c_keeps_what_was_judged(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.export.search.accuracy import Judge

    judged = Judge.accuracy
    calls: list[object] = []

    def interrupted(self: Judge, candidate: object) -> float:
        calls.append(candidate)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judged(self, candidate)  # type: ignore[arg-type]

    monkeypatch.setattr(Judge, "accuracy", interrupted)
    command = [
        "search",
        "--checkpoint",
        str(place / "net.pth"),
        "--data",
        str(place / "data"),
        "--budget-ms",
        "1e4",
    ]
    command += [
        "--config",
        "depth_list=[1,2]",
        "--size",
        "32x32",
        "--out",
        str(place / "cut"),
        "--population",
        "4",
    ]
    command += ["--judge-on", "60", "--settle-on", "40", "--threads", "1"]
    assert main(command) == 130
    assert len(json.loads((place / "cut" / "search.json").read_text())["judged"]) == 2
    assert "--resume goes on" in capsys.readouterr().err


def test_what_cannot_be_searched_is_told_why(place: Path, tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"--budget-ms 1e-06: the smallest subnet takes [\d.]+ ms \(measured"
    ):
        search(_request(place, budget_ms=1e-6), tmp_path / "a", False, _silent)
    with pytest.raises(OptionError, match="leaves 10 pictures to compare networks on, 50 are the least"):
        search(_request(place, judge_on=10), tmp_path / "b", False, _silent)
    few = pictures(tmp_path / "few", 20)
    with pytest.raises(
        OptionError, match=r"pictures .* are the least; it has 72 training and 8 test pictures"
    ):
        search(_request(place, data=str(few)), tmp_path / "c", False, _silent)
    (tmp_path / "few" / "class0").rename(tmp_path / "class0")
    with pytest.raises(OptionError, match="has 3 classes, the network 4"):
        search(_request(place, data=str(few)), tmp_path / "d", False, _silent)
    with pytest.raises(OptionError, match="ks: is what the search finds"):
        search(_request(place, config={"ks": 3}), tmp_path / "e", False, _silent)


def test_another_networks_checkpoint_is_refused(place: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    assert (
        main(
            [
                "search",
                "--checkpoint",
                str(tmp_path / "other.pth"),
                "--data",
                str(place / "data"),
                "--budget-ms",
                "9",
            ]
        )
        == 2
    )


def test_supernets_of_several_bits_are_searched_together(place: Path, tmp_path: Path) -> None:
    supernet(2, tmp_path / "two.pth")
    request = _request(
        place, checkpoints=(str(place / "net.pth"), str(tmp_path / "two.pth")), population=6, generations=0
    )
    search(request, tmp_path / "both", False, _silent)
    judged = json.loads((tmp_path / "both" / "search.json").read_text())["judged"]
    assert {one["bits"] for one in judged} == {2, 4}


@pytest.mark.parametrize("container", [U8((32, 32)), Grid((32, 32))], ids=["u8", "grid"])
def test_parts_one_after_the_other_are_the_whole_network(container: Container, tmp_path: Path) -> None:
    net = supernet(4, tmp_path / "net.pth").subnet(subnet_config(options(4), {"d": [1, 2, 1, 1, 2], "ks": 3}))
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        x = container.head(net).module.eval()(image)
        for number in range(1, len(net.blocks)):
            part = container.block(net, number)
            assert part.example.shape == x.shape
            x = part.module.eval()(x)
        answer = container.tail(net).module.eval()(x)
        assert torch.allclose(answer, container.whole(net).module.eval()(image), atol=1e-5)


def test_sums_of_parts_are_exact_where_times_add_up(tmp_path: Path) -> None:
    """A clock that charges every graph for its weights, and for a call: the sum of the parts is the whole."""

    class Weights:
        label, call = "counted", 5.0

        def __call__(self, graphs: dict[str, bytes]) -> dict[str, float]:
            import onnx

            return {
                name: self.call + sum(
                    np.prod(one.dims) for one in onnx.load_from_string(graph).graph.initializer if len(one.dims) in (2, 4)
                )
                for name, graph in graphs.items()
            }  # fmt: skip

    net = supernet(4, tmp_path / "net.pth")
    checks = {
        "largest": largest(options(4)),
        "other": subnet_config(options(4), {"d": [1, 2, 1, 2, 1], "e": 3}),
    }
    table = tabulate(net, Grid((32, 32)), (32, 32), Weights(), checks)  # type: ignore[arg-type]
    assert table.factor == pytest.approx(1.0) and table.worst < 1e-9
    names = part_names(net, checks["other"], (32, 32))
    assert names[0] == HEAD and names[-1] == TAIL and len(names) == 2 + 7


def test_a_jetsons_times_are_predicted_and_called_that(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("edgekit.export.estimate", reason="edgekit estimate is not there")
    found = search(_request(place, target="jetson-tx2", generations=0), tmp_path / "tx2", False, _silent)
    assert found.times.startswith("predicted, not measured: Jetson TX2")
    assert "predicted" in "\n".join(found.lines())
