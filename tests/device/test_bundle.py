"""A real bundle ($EDGEKIT_BUNDLE) on this very interpreter, through its own runtime.zip, with nothing of edgekit installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

CODE = """
import json, sys
sys.path.insert(0, sys.argv[1] + "/runtime.zip")
import numpy as np
import edgekit
assert edgekit.__file__.startswith(sys.argv[1]), edgekit.__file__
report = {}
with edgekit.load(sys.argv[1]) as session:
    inputs, exits = session.golden()
"""


@pytest.fixture
def damaged(bundle: Path, tmp_path: Path) -> Path:
    """Another copy, to be damaged."""
    shutil.copytree(str(bundle), str(tmp_path / "net.edgekit"))
    return tmp_path / "net.edgekit"


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run this interpreter far from the checkout, with a clean environment."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if key in os.environ}
    return subprocess.run(
        [sys.executable] + list(arguments), cwd="/", env=dict(kept, HOME="/nonexistent"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, universal_newlines=True, timeout=300,
    )  # fmt: skip


def report(bundle: Path, body: str) -> Dict[str, List[float]]:
    """Run ``body`` with a session of the bundle, its golden ``inputs`` and ``exits``, and return what it puts in ``report``."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    process = python("-c", CODE + lines + "print(json.dumps(report))\n", str(bundle))
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert isinstance(found, dict)
    return found


def test_every_exit_is_what_was_computed_at_export(bundle: Path) -> None:
    found = report(
        bundle,
        """
result = session.infer(**inputs)
for name, expected in exits.items():
    error = np.abs(result.exits[name] - expected)
    report[name] = [float((error > 2e-2).mean()), float(error.max())]
assert result.reason == "final" and result.stage == list(exits)[-1]
""",
    )
    assert found
    for name, (share_off, largest) in found.items():
        assert share_off <= 1e-3, f"{name}: {share_off:.2%} of the pixels are off, by up to {largest}"


def test_anytime_submit_and_infer_give_the_same_answers(bundle: Path) -> None:
    found = report(
        bundle,
        """
whole = session.infer(**inputs)
for result in session.anytime(**inputs):
    assert all(np.array_equal(array, whole.exits[name]) for name, array in result.exits.items()), result.stage
    report.setdefault("anytime", []).append(result.stage)
told = []
job = session.submit(on_exit=lambda result: told.append(result.stage), **inputs)
result = job.result()
assert np.array_equal(result.output, whole.output)
report["told"], report["exits"] = told, list(exits)
""",
    )
    assert found["anytime"] == found["told"] == found["exits"]


def test_pictures_of_other_sizes_give_answers_of_their_own_size(bundle: Path) -> None:
    report(
        bundle,
        """
recipe = session.manifest.inputs[0].preprocessing
for scale in (1.0, 0.6, 1.7):
    height, width = int(recipe.height * scale), int(recipe.width * scale)
    picture = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    result = session.infer(**{spec.name: picture for spec in session.manifest.inputs})
    assert np.isfinite(result.output).all()
    if session.manifest.task == "stereo":
        assert result.output.shape == (height, width) and result.output.dtype == np.float32
""",
    )


def test_a_larger_budget_never_gives_a_worse_answer_and_none_is_given_out_as_in_time_that_is_not(
    bundle: Path,
) -> None:
    found = report(
        bundle,
        """
whole = sum(session.infer(**inputs).elapsed_ms for _ in range(5)) / 5
for share in (0.01, 0.3, 0.6, 3.0, 30.0):
    results = [session.infer(budget_ms=share * whole, **inputs) for _ in range(5)]
    for result in results:
        assert result.missed == (result.elapsed_ms > result.budget_ms or result.output is None)
        assert result.reason in ("budget", "final")
    report[str(share)] = [len(result.exits) for result in results]
report["all"] = [len(exits)]
""",
    )
    assert max(found["30.0"]) == found["all"][0]


def test_a_stage_that_overruns_is_cancelled_and_the_session_goes_on(bundle: Path) -> None:
    report(
        bundle,
        """
whole = session.infer(**inputs)
job = session.submit(**inputs)
job.cancel()
assert job.result().reason in ("cancelled", "final")
for _ in range(10):
    session.infer(budget_ms=0.5 * whole.elapsed_ms, **inputs)
again = session.infer(**inputs)
assert again.reason == "final" and np.array_equal(again.output, whole.output)
""",
    )


def test_close_while_a_job_runs_ends_the_process_cleanly(bundle: Path) -> None:
    report(
        bundle,
        "jobs = [session.submit(**inputs) for _ in range(3)]\nsession.close()\nassert all(j.done() for j in jobs)",
    )


@pytest.mark.parametrize("what", ["graph", "manifest.json", "runtime.zip", "golden"])
@pytest.mark.parametrize("how", ["flipped", "missing", "short"])
def test_a_damaged_bundle_is_named_in_one_sentence(damaged: Path, what: str, how: str) -> None:
    manifest = json.loads((damaged / "manifest.json").read_text(encoding="utf-8"))
    stage = manifest["stages"][-1]
    names = {"golden": manifest["golden"]}
    names["graph"] = next(
        one["graph"]
        for one in stage["variants"]
        if one["name"] == stage["defaults"].get("onnxruntime", stage["variants"][0]["name"])
    )
    path = damaged / names.get(what, what)
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "short":
        path.write_bytes(data[: len(data) // 2])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 0x20]) + data[middle + 1 :])
    process = python(str(damaged), "verify")
    assert process.returncode in (1, 2), process.stdout
    assert "Traceback" not in process.stderr
    assert path.name in process.stderr + process.stdout or "manifest.json" in process.stderr + process.stdout


def test_a_bundle_of_a_newer_schema_says_who_reads_it(damaged: Path) -> None:
    path = damaged / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest.update(schema=2, provenance={"edgekit": "9.9.9"})
    path.write_text(json.dumps(manifest), encoding="utf-8")
    process = python(str(damaged), "inspect")
    assert process.returncode == 2
    assert "edgekit 9.9.9 or newer reads it" in process.stderr
