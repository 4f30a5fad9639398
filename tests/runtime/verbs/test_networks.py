"""The verbs on a bundle of several networks: each is shown, verified and measured by its name, or one alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli import main
from tests.toy_graphs import write_alternatives, write_stereo


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return write_alternatives(str(tmp_path / "choice.edgekit")).path


@pytest.fixture
def picture(tmp_path: Path) -> str:
    np.save(
        str(tmp_path / "picture.npy"), np.random.RandomState(2).randint(0, 255, (20, 30, 3)).astype(np.uint8)
    )
    return str(tmp_path / "picture.npy")


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_inspect_shows_what_every_network_costs_and_gives(
    bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", bundle]) == 0
    out = capsys.readouterr().out
    assert "medium   stage2, stage3    30" in out
    assert "0.6 published" in out
    assert "image of large: float32 1x3x12x16" in out
    assert "stage4 large" in out


def test_verify_checks_every_network_on_its_own_golden_input(
    bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", bundle, "--json"]) == 0
    checks = printed(capsys)["checks"]
    assert isinstance(checks, list)
    assert [[one["stage"] for one in check["exits"]] for check in checks] == [
        ["stage1"],
        ["stage2", "stage3"],
        ["stage4"],
    ]
    assert main(["verify", bundle, "--network", "large", "--json"]) == 0
    checks = printed(capsys)["checks"]
    assert isinstance(checks, list)
    assert len(checks) == 1


def test_bench_measures_all_networks_and_the_profile_serves_the_choice(
    bundle: str, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "bench",
        bundle,
        "--image",
        picture,
        "--runs",
        "6",
        "--warmup",
        "1",
        "--budget-ms",
        "5000",
        "--json",
    ]
    assert main(words) == 0
    document = printed(capsys)
    exits, stages = document["exits"], document["stages"]
    assert isinstance(exits, dict)
    assert isinstance(stages, dict)
    assert list(stages) == ["stage1", "stage2", "stage3", "stage4"]
    # A network's exit takes what its own stages take, not those of the networks before it.
    assert exits["stage1"]["model"]["p50_ms"] == stages["stage1"]["p50_ms"]
    assert exits["stage4"]["model"]["p50_ms"] == stages["stage4"]["p50_ms"]
    assert exits["stage3"]["model"]["mean_ms"] == pytest.approx(
        stages["stage2"]["mean_ms"] + stages["stage3"]["mean_ms"]
    )
    budgeted = document["budgeted"]
    assert isinstance(budgeted, dict)
    assert budgeted["answered"] == {"stage4 (large)": 6}
    assert document["settings"]["networks"]["stage4"] == "large"  # type: ignore[index]


def test_measuring_one_network_keeps_what_is_known_of_the_others(
    bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ["--runs", "3", "--warmup", "0"]
    assert main(["bench", bundle, *quick]) == 0
    (profile,) = Path(bundle, "profiles").iterdir()
    before = json.loads(profile.read_text())["stages"]
    assert main(["bench", bundle, *quick, "--network", "large", "--rate", "500"]) == 0
    assert "stage1" not in capsys.readouterr().out.split("Stages")[-1]
    after = json.loads(profile.read_text())["stages"]
    assert set(after) == set(before) == {"stage1", "stage2", "stage3", "stage4"}
    assert after["stage1"] == before["stage1"]
    assert after["stage4"] != before["stage4"]


def test_run_says_which_network_answered(
    bundle: str, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", bundle, "--image", picture, "--json"]) == 0
    document = printed(capsys)
    assert (document["network"], document["stage"]) == ("large", "stage4")
    assert main(["run", bundle, "--image", picture, "--network", "medium", "--stage", "1", "--json"]) == 0
    document = printed(capsys)
    assert (document["network"], document["stage"]) == (None, "stage2")
    assert main(["run", bundle, "--image", picture]) == 0
    assert "stage4 answered (network large)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["bench", "--rate", "30"],
            "--rate is for one network: add --network NAME, which is one of small, medium, large",
        ),
        (["bench", "--network", "tiny"], "choice has no network 'tiny'; it has small, medium, large"),
        (["verify", "--network", "midium"], "(did you mean medium?)"),
    ],
)
def test_what_needs_one_network_says_how_to_name_it(
    bundle: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], bundle, *words[1:]]) == 2
    assert said in capsys.readouterr().err


def test_a_bundle_of_one_network_has_none_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stereo = write_stereo(str(tmp_path / "toy.edgekit")).path
    assert main(["verify", stereo, "--network", "small"]) == 2
    assert "it holds only one" in capsys.readouterr().err


def test_a_recording_of_one_network_is_simulated_for_that_network(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = str(tmp_path / "run.jsonl")
    words = ["bench", bundle, "--network", "medium", "--runs", "8", "--warmup", "2", "--budget-ms", "50"]
    assert main([*words, "--record", record, "--trace", str(tmp_path / "trace.json")]) == 0
    capsys.readouterr()
    simulated = ["simulate", bundle, "--recording", record, "--deadline", "20"]
    assert main(simulated) == 2
    assert "is of medium with stages stage2, stage3" in capsys.readouterr().err
    assert main([*simulated, "--network", "medium", "--json"]) == 0
    document = printed(capsys)
    assert document["decisions_reproduced"] is True
