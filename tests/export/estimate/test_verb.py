"""`edgekit estimate`: a question about a Jetson that is not at hand, answered with the word predicted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit import cli
from edgekit.bundle import Bundle
from edgekit.runtime.profile import read_profile_file


def test_it_says_which_answers_would_be_there_at_a_rate(
    anynet_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["estimate", anynet_bundle.path, "--target", "jetson-tx2", "--mode", "MAXN", "--fps", "30"])
        == 0
    )
    text = capsys.readouterr().out
    assert "Jetson TX2 in MAXN (GPU fixed at 1300.5 MHz)" in text
    assert "30 frames a second, 33.3 ms each:\n  stage1: predicted yes" in text
    assert "held out by network: median error" in text and "JetPack 3" in text


def test_every_time_carries_the_word_predicted(
    anynet_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["estimate", anynet_bundle.path, "--target", "jetson-xavier", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["what"] == "predicted, not measured"
    until = 0.0
    for stage in document["stages"]:
        until += stage["predicted_ms"]
        assert stage["predicted_until"] == pytest.approx(until)
        assert stage["predicted_low"] < until < stage["predicted_high"] and 0 <= stage["unseen"] <= 1
    assert {name.partition("_")[0] for name in document["stages"][0] if name.endswith(("ms", "until"))} == {
        "predicted"
    }
    assert set(document["held_out"]) >= {"network", "family", "module"}


def test_a_slower_power_mode_is_predicted_slower(
    anynet_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    last = {}
    for mode in ("MAXN", "maxq"):
        cli.main(["estimate", anynet_bundle.path, "--target", "jetson-tx2", "--mode", mode, "--json"])
        last[mode] = json.loads(capsys.readouterr().out)["stages"][-1]["predicted_until"]
    assert 1.2 * last["MAXN"] < last["maxq"] < 2 * last["MAXN"]


def test_simulate_runs_on_a_prediction_and_says_so(
    anynet_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "tx2.json"
    assert cli.main(["estimate", anynet_bundle.path, "--target", "jetson-tx2", "--save", str(saved)]) == 0
    capsys.readouterr()
    assert (
        cli.main(
            ["simulate", anynet_bundle.path, "--profile", str(saved), "--deadline", "30", "--frames", "50"]
        )
        == 0
    )
    assert "predicted for Jetson TX2 in MAXN" in capsys.readouterr().out
    assert read_profile_file(str(saved), anynet_bundle) is None, "never taken for a measured profile"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target", "jetson-tx3"], "jetson-tx2"),
        (["--target", "cpu"], "nothing is known of its speed"),
        (["--target", "jetson-tx2", "--mode", "FAST"], "MAXQ (850 MHz)"),
        (["--target", "jetson-tx2", "--precision", "int8"], "has fp32, fp16"),
        (["--target", "jetson-tx2", "--fps", "0"], "not a number above 0"),
        (["--target", "jetson-tx2", "--save", "/nowhere/x.json"], "there is no folder /nowhere"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_a_sentence(
    anynet_bundle: Bundle, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["estimate", anynet_bundle.path, *options]) == 2
    assert told in capsys.readouterr().err


def test_clocks_that_nobody_has_read_are_named(
    anynet_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["estimate", anynet_bundle.path, "--target", "jetson-xavier", "--mode", "MODE_15W"]) == 0
    assert "recalled, not read in a source: the GPU's clock in this mode" in capsys.readouterr().out
