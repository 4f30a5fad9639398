"""`edgekit bench`: its figures hang together, its gate gates, its profile is used, its warnings say what to do."""

import itertools
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtime.device.fingerprint import read_fingerprint
from edgekit.runtime.device.system import Processors
from edgekit.runtime.measurement import Frame
from edgekit.runtime.variants import fastest, measured_elsewhere, time_variants, variant_choices
from edgekit.runtime.verbs.bench import find_warnings

QUIET = Processors("a CPU", 2, 2, 2, ("performance",), (2000.0, 2000.0), 2000.0)


def measured(process, code=0):
    assert process.returncode == code, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def found(stereo, tmp_path_factory):
    """One full measurement."""
    import subprocess
    import sys

    saved = tmp_path_factory.mktemp("bench") / "bench.json"
    options = [
        "--runs",
        "12",
        "--warmup",
        "2",
        "--rate",
        "200",
        "--budget-ms",
        "5000",
        "--no-profile",
        "--save",
        str(saved),
    ]
    process = subprocess.run(
        [sys.executable, "-m", "edgekit", "bench", stereo, *options, "--json"], capture_output=True, text=True
    )
    document = measured(process)
    with_frames = json.loads(saved.read_text())
    frames = with_frames.pop("frames")
    assert with_frames == document
    return document, frames


def test_threads_that_are_not_to_spin_do_not(stereo, edgekit):
    process = edgekit(
        "bench", stereo, "--runs", "2", "--variants", "default", "--no-profile", "--no-spin", "--json"
    )
    config = measured(process)["settings"]["backend_settings"]["session_config"]
    assert config["session.intra_op.allow_spinning"] == "0"


def test_the_figures_are_those_of_the_frames(found):
    document, frames = found
    assert len(frames) == 12
    for stage, figures in document["stages"].items():
        times = [frame["stage_ms"][stage] for frame in frames]
        assert figures["runs"] == 12
        assert figures["mean_ms"] == pytest.approx(np.mean(times))
        assert figures["p99_ms"] == pytest.approx(np.percentile(times, 99))


def test_later_exits_take_longer_and_end_to_end_includes_the_model(found):
    document, _ = found
    exits = list(document["exits"].values())
    assert list(document["exits"]) == ["stage1", "stage2", "stage3"]
    for earlier, later in itertools.pairwise(exits):
        assert earlier["end_to_end"]["min_ms"] < later["end_to_end"]["min_ms"]
    for one in exits:
        assert one["model"]["mean_ms"] < one["end_to_end"]["mean_ms"]
        assert one["end_to_end"]["fps"] == pytest.approx(1000 / one["end_to_end"]["mean_ms"])
    assert exits[-1]["model"]["mean_ms"] == pytest.approx(
        sum(stage["mean_ms"] for stage in document["stages"].values())
    )


def test_everything_that_the_figures_depend_on_is_in_the_settings(found):
    settings = found[0]["settings"]
    assert settings["backend"].startswith("onnxruntime ") and settings["backend_settings"]["threads"] >= 1
    assert (settings["runs"], settings["warmup"]) == (12, 2)
    assert set(settings["boundaries"]) == {"stage", "model", "end to end"}
    assert set(settings["variants"]) == {"stage1", "stage2", "stage3"}
    assert settings["fingerprint"]["module"] is None  # this machine is no Jetson: null, not a word
    assert "golden input (60 x 37 px)" in settings["inputs"]
    assert found[0]["memory_peak_bytes"] > found[0]["memory_before_load_bytes"] * 0.9 > 0
    assert found[0]["load_ms"] > 0 and found[0]["profile"] is None and found[0]["gate"] is None


def test_paced_frames_and_frames_within_a_budget_are_beside_the_tight_loop(found):
    paced, budgeted = found[0]["paced"], found[0]["budgeted"]
    assert paced["rate_hz"] == 200 and paced["end_to_end"]["runs"] == 12
    assert paced["arrival_to_answer"]["p50_ms"] >= paced["end_to_end"]["min_ms"]
    assert sum(budgeted["answered"].values()) == 12 and budgeted["missed"] == 0
    assert budgeted["answered"].get("stage3", 0) > 0


def test_every_variant_is_timed_and_the_fastest_is_kept_and_taken_from_then_on(edgekit, own_stereo):
    """The bundle's own choice, plain, gives way only to a graph that takes less than 0.98 of its time."""
    bundle = own_stereo()
    document = measured(edgekit("bench", bundle, "--runs", 10, "--json"))
    medians = document["variants_p50_ms"]["stage2"]
    assert set(medians) == {"plain", "scaled"}
    winner = document["settings"]["variants"]["stage2"]
    if medians["scaled"] < 0.98 * medians["plain"]:
        assert winner == "scaled"
    else:
        assert winner == "plain"
    profile = json.loads(Path(document["profile"]).read_text())
    assert profile["stages"]["stage2"]["variant"] == winner
    again = measured(edgekit("bench", bundle, "--runs", 5, "--variants", "default", "--no-profile", "--json"))
    assert again["settings"]["variants"]["stage2"] == winner
    assert (
        "profiles    " in edgekit("inspect", bundle).stdout
        and "none yet" not in edgekit("inspect", bundle).stdout
    )


def test_a_variant_that_was_asked_for_is_taken_and_no_profile_is_kept_of_it(edgekit, own_stereo):
    bundle = own_stereo()
    document = measured(edgekit("bench", bundle, "--runs", 5, "--variants", "stage2=scaled", "--json"))
    assert document["settings"]["variants"]["stage2"] == "scaled" and document["profile"] is None
    for wrong in ("stage2", "stage2=", "quick"):
        assert "STAGE=NAME" in edgekit("bench", bundle, "--variants", wrong).stderr
    assert "it has plain, scaled" in edgekit("bench", bundle, "--variants", "stage2=none").stderr
    assert "there is no 'stage9'" in edgekit("bench", bundle, "--variants", "stage9=plain").stderr


def test_the_gate_decides_the_exit_code(edgekit, stereo):
    options = ["--runs", 5, "--no-profile", "--variants", "default"]
    failed = measured(edgekit("bench", stereo, *options, "--max-p99", 0.001, "--json"), code=1)
    assert failed["gate"]["passed"] is False and failed["gate"]["of"] == "stage3, end to end"
    process = edgekit("bench", stereo, *options, "--max-p99", 1e6)
    assert process.returncode == 0 and "at most 1e+06 ms allowed: passed" in process.stdout


def test_the_report_has_settings_first_and_warnings_last(edgekit, stereo):
    process = edgekit("bench", stereo, "--runs", 10, "--no-profile")
    lines = process.stdout.splitlines()
    assert lines[0].startswith("bundle ") and lines[-1].startswith("! ")
    order = [
        "backend  ",
        "Equal graphs in turns",
        "Stages, ms (boundary: stage)",
        "Until each exit",
        "p99: ",
        "! 10 runs are too few",
    ]
    places = [next(n for n, line in enumerate(lines) if line.startswith(words)) for words in order]
    assert places == sorted(places)


def test_pictures_of_the_users_own_can_be_measured(edgekit, stereo, tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((30, 50, 3), np.uint8))
    pair = ["--left", tmp_path / "p.npy", "--right", tmp_path / "p.npy"]
    document = measured(edgekit("bench", stereo, *pair, "--runs", 3, "--no-profile", "--json"))
    assert document["settings"]["inputs"].endswith("p.npy (50 x 30 px)")


def test_a_bundle_that_cannot_be_written_to_is_measured_all_the_same(edgekit, own_stereo):
    bundle = own_stereo()
    # A file where the folder should be: root, as in a container, is stopped by no permission.
    with open(os.path.join(bundle, "profiles"), "w") as file:
        file.write("")
    os.chmod(bundle, stat.S_IRUSR | stat.S_IXUSR)
    document = measured(edgekit("bench", bundle, "--runs", 3, "--json"))
    os.chmod(bundle, stat.S_IRWXU)
    assert document["profile"] is None
    assert any("the profile cannot be kept" in warning for warning in document["warnings"])


def test_a_stage_that_fails_is_one_sentence(edgekit, own_stereo):
    process = edgekit(
        "bench", own_stereo(lambda files: {**files, "stages/stage3.plain.onnx": b"no graph"}), "--runs", 3
    )
    assert process.returncode == 2 and "stage3" in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize(
    "option", ["--runs=0", "--rate=0", "--rate=nan", "--warmup=-1", "--max-p99=x", "--save=nowhere/b.json"]
)
def test_a_wrong_option_is_one_sentence(refused, stereo, option):
    process = refused("bench", stereo, option)
    assert len(process.stderr.splitlines()) == 1


def test_a_quiet_machine_with_fixed_clocks_raises_no_warning():
    frames = [Frame({"stage1": 5.0}, {"stage1": 5.0 + 0.001 * number}) for number in range(200)]
    assert find_warnings(frames, 0.02, QUIET, QUIET) == []
    assert (
        find_warnings(
            frames, None, QUIET._replace(governors=(), mhz=()), QUIET._replace(governors=(), mhz=())
        )
        == []
    )


@pytest.mark.parametrize(
    ("others", "after", "words"),
    [
        (0.9, QUIET, "other programs used 0.9 of 2 CPUs"),
        (0.0, QUIET._replace(governors=("schedutil",)), "the CPU governor is schedutil"),
        (0.0, QUIET._replace(mhz=(1200.0, 2000.0)), "fell from 2000 to 1200 MHz"),
    ],
)
def test_each_disturbance_is_named(others, after, words):
    frames = [Frame({"stage1": 5.0}, {"stage1": 5.0})] * 200
    (warning,) = find_warnings(frames, others, QUIET, after)
    assert words in warning


def test_variants_take_turns_and_the_first_round_does_not_count():
    calls = []

    def frame(name, times):
        left = list(times)

        def run():
            calls.append(name)
            return {"stage1": 1.0, "stage2": left.pop(0)}

        return run

    choices = [{"stage1": "a", "stage2": "a"}, {"stage1": "a", "stage2": "b"}]
    times = time_variants(choices, [frame("A", [99, 5, 7, 6]), frame("B", [1, 8, 8, 9])], rounds=3)
    assert calls == ["A", "B"] * 4
    assert times == {"stage1": {"a": 1.0}, "stage2": {"a": 6.0, "b": 8.0}}
    assert fastest(times) == {"stage1": "a", "stage2": "a"}


def test_a_tie_keeps_the_graph_that_the_bundle_starts_with():
    times = {
        "stage1": {"new": 9.9, "own": 10.0},
        "stage2": {"new": 9.7, "own": 10.0},
        "stage3": {"a": 2.0, "b": 1.0},
    }
    own = {"stage1": "own", "stage2": "own"}
    assert fastest(times, own) == {"stage1": "own", "stage2": "new", "stage3": "b"}


def test_graphs_that_were_chosen_on_another_machine_are_said_to_be(stereo):
    from edgekit.bundle import read_bundle

    manifest = read_bundle(stereo).manifest
    here = read_fingerprint("onnxruntime 1.10.0 CPUExecutionProvider", 2)
    assert measured_elsewhere(manifest, here) == []  # nothing was measured
    measured = {"processor": here.processor, "threads": "2", "backend": here.backend, "times": []}
    manifest = manifest._replace(provenance=dict(manifest.provenance, measured=measured))
    assert measured_elsewhere(manifest, here) == []
    (said,) = measured_elsewhere(manifest, here._replace(threads="6"))
    assert "threads 2 -> 6" in said and "edgekit bench" in said


def test_every_variant_occurs_in_some_choice(stereo):
    from edgekit.bundle import read_bundle

    manifest = read_bundle(stereo).manifest
    chosen = {
        (stage, name) for choice in variant_choices(manifest, "onnxruntime") for stage, name in choice.items()
    }
    assert chosen == {(stage.name, variant.name) for stage in manifest.stages for variant in stage.variants}
