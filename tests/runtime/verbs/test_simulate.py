"""`edgekit simulate`: from a profile or a recording that bench made to figures that hang together, and mistakes that are told."""

import json
import shutil
import subprocess
import sys

import pytest

NAMES = ["edgekit", "mean-based", "always stage1", "oracle"]


def simulate(bundle, *options):
    command = [sys.executable, "-m", "edgekit", "simulate", bundle, "--frames", "300", *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def bundle(stereo, tmp_path_factory):
    """A copy of the stereo bundle, which gets a profile."""
    return shutil.copytree(str(stereo), str(tmp_path_factory.mktemp("simulate") / "tiny.edgekit"))


@pytest.fixture(scope="module")
def measured(bundle, tmp_path_factory):
    """A profile in the bundle, a recording and a trace, from one bench within a budget."""
    folder = tmp_path_factory.mktemp("measured")
    record, trace = folder / "run.jsonl", folder / "trace.json"
    options = ["--runs", "40", "--warmup", "5", "--budget-ms", "8", "--variants", "default"]
    command = [
        sys.executable,
        "-m",
        "edgekit",
        "bench",
        bundle,
        *options,
        "--record",
        str(record),
        "--trace",
        str(trace),
    ]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert f"wrote {record}" in process.stdout
    return record, trace


def test_a_recording_is_replayed_exactly_and_simulated_at_every_budget(bundle, measured):
    options = ["--recording", str(measured[0]), "--deadline", "2..20:6", "--rate", "5", "--json"]
    process = simulate(bundle, *options)
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    assert document["decisions_reproduced"] is True
    assert document["what"] == "simulated"
    assert [cell["budget_ms"] for cell in document["budgets"]] == [2, 8, 14, 20]
    for cell in document["budgets"]:
        found = cell["strategies"]
        assert set(NAMES) <= set(found)
        assert found["oracle"]["late"] == 0
        for figures in found.values():
            low, high = figures["late_interval"]
            assert low <= figures["late_share"] <= high
            assert figures["frames"] == 300
    assert simulate(bundle, *options).stdout == process.stdout


def test_the_bundles_own_profile_is_taken_and_a_seed_decides_everything(bundle, measured):
    options = [
        "--deadline",
        "10",
        "--neighbour",
        "2x:20",
        "--outliers",
        "5x:0.01",
        "--slowdown",
        "2x@100..200",
    ]
    one, same, other = (simulate(bundle, *options, "--seed", seed, "--json") for seed in ("1", "1", "2"))
    assert one.returncode == 0, one.stderr
    assert one.stdout == same.stdout != other.stdout


def test_the_table_says_under_what_it_was_simulated_and_the_plot_is_drawn(bundle, measured, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib, which is not installed")
    plot = tmp_path / "plot.svg"
    process = simulate(
        bundle, "--deadline", "5..15:10", "--overrun", "finish", "--idle", "1.5x:50", "--plot", str(plot)
    )
    assert process.returncode == 0, process.stderr
    assert "overrun=finish" in process.stdout
    assert "idle 1.5x:50" in process.stdout
    assert "95 % interval" in process.stdout
    assert plot.read_text().lstrip().startswith("<?xml")


def test_a_bench_writes_a_trace_of_every_frame(measured):
    document = json.loads(measured[1].read_text())
    frames = [event for event in document["traceEvents"] if event["name"].startswith("frame ")]
    assert len(frames) == 85
    assert document["otherData"]["settings"]["budget_ms"] == 8
    assert sum(event["name"].startswith("deadline") for event in document["traceEvents"]) == 40


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--deadline", "50..20"], "--deadline 50..20: give ms above 0"),
        (["--deadline", "1..1e6:1"], "at most 200"),
        (["--deadline", "20", "--slowdown", "twice"], "--slowdown twice: give a factor and frames"),
        (["--deadline", "20", "--neighbour", "2x"], "--neighbour 2x: give"),
        (["--deadline", "20", "--plot", "a.gif"], "--plot a.gif: must end in one of .png, .svg, .pdf"),
        (["--deadline", "20", "--plot", "no/such/a.png"], "there is no folder no/such"),
        (["--deadline", "20", "--profile", "no.json"], "no.json: no such file"),
        (["--deadline", "20", "--profile", "a", "--recording", "b"], "give one of them"),
        (["--deadline", "20", "--confidence", "1.5"], "'1.5' is not a number above 0"),
        ([], "--deadline"),
    ],
)
def test_what_cannot_be_simulated_is_told_in_one_sentence(refused, bundle, measured, options, told):
    process = refused("simulate", bundle, "--frames", 300, *options)
    assert told in process.stderr
    assert process.stdout == ""


def test_a_recording_of_another_network_is_refused(stereo, classifier, measured):
    process = simulate(classifier, "--deadline", "20", "--recording", str(measured[0]))
    assert process.returncode == 2
    assert "is of" in process.stderr
