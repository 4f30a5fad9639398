"""Another device's profile is a first guess: scaled to this one, doubted until measured, and never passed over in silence."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from edgekit.bundle import Bundle, read_bundle
from edgekit.runtime.device.fingerprint import Fingerprint
from edgekit.runtime.guess import (
    PICKED,
    find_profiles,
    first_durations,
    nearest_profile,
    picked,
    scaled,
    told,
)
from edgekit.runtime.profile import Profile, StageProfile, bundle_hash, write_profile
from edgekit.runtime.session import Session
from tests.runtime.virtual import FakeBackend, JumpingClock

ELSEWHERE = Fingerprint("TX2", "6.2", "8.2.1", "10.2", "32.7.1", "MAXN", "ARMv8", "6", "fake 1")
STAGES = ("stage1", "stage2", "stage3", "stage4")


@pytest.fixture
def bundle(stereo_path: Path) -> Bundle:
    return read_bundle(stereo_path)


def profile(bundle: Bundle, fingerprint: Fingerprint = ELSEWHERE, usual: float = 10.0) -> Profile:
    """Every stage took ``usual`` ms, and one run in ten half as long again."""
    runs = tuple([usual] * 90 + [1.5 * usual] * 10)
    return Profile(fingerprint, bundle_hash(bundle), {name: StageProfile("plain", runs) for name in STAGES})


def opened(bundle: Bundle, duration: float, warmup: int) -> Session:
    clock = JumpingClock()
    variants = {"stage2": "plain"}
    backend = FakeBackend(clock, lambda stage, frame: duration)
    return Session(bundle, backend, variants, clock, warmup=warmup)


def predicted(session: Session, confidence: float) -> List[float]:
    found = [session.latency.predict(name, confidence) for name in STAGES]
    return [value for value in found if value is not None]


def test_the_guess_is_scaled_by_what_the_warm_up_of_this_device_shows(bundle: Bundle) -> None:
    write_profile(bundle, profile(bundle))
    with opened(bundle, duration=2.0, warmup=5) as session:
        assert session.profile is None
        assert session.guess is not None
        assert session.guess.fingerprint == ELSEWHERE
        assert predicted(session, 0.5) == pytest.approx([2.0] * 4)
        # The other device's outliers, at this one's pace, and no less than distrust of so few runs demands.
        assert all(value >= 3.0 for value in predicted(session, 0.99))


def test_measuring_makes_the_guess_narrow(bundle: Bundle) -> None:
    write_profile(bundle, profile(bundle))
    with opened(bundle, duration=2.0, warmup=5) as session:
        before = predicted(session, 0.9)
        for _ in range(200):
            for name in STAGES:
                session.latency.learn(name, 2.0)
        assert predicted(session, 0.9) == pytest.approx([2.0] * 4)
        assert all(value > 2.3 for value in before)


def test_without_a_warm_up_the_first_stage_shows_how_much_faster_this_device_is(bundle: Bundle) -> None:
    write_profile(bundle, profile(bundle, usual=10.0))
    with opened(bundle, duration=2.0, warmup=0) as session:
        assert predicted(session, 0.5) == pytest.approx([10.0] * 4)
        session.latency.learn("stage1", 2.0)
        assert predicted(session, 0.5)[1] < 3.0


def test_without_any_profile_there_is_no_guess(bundle: Bundle) -> None:
    with opened(bundle, duration=2.0, warmup=0) as session:
        assert (session.profile, session.guess, predicted(session, 0.5)) == (None, None, [])


def test_what_was_measured_here_is_no_guess(bundle: Bundle) -> None:
    with opened(bundle, duration=2.0, warmup=0) as session:
        here = session.fingerprint
    write_profile(bundle, profile(bundle))
    write_profile(bundle, profile(bundle, here, usual=3.0))
    with opened(bundle, duration=2.0, warmup=0) as session:
        assert session.profile is not None
        assert session.guess is None
        assert predicted(session, 0.5) == pytest.approx([3.0] * 4)


def test_of_several_the_most_similar_device_is_taken_and_else_the_latest(bundle: Bundle) -> None:
    here = ELSEWHERE._replace(power_mode="MAXQ")
    near, far = ELSEWHERE, ELSEWHERE._replace(module="Nano", sm="5.3")
    newer = ELSEWHERE._replace(power_mode="MAXP")
    for age, fingerprint in ((50, near), (10, far), (20, newer)):
        path = write_profile(bundle, profile(bundle, fingerprint))
        os.utime(path, (1e9 - age, 1e9 - age))
    found = nearest_profile(bundle, here)
    assert found is not None
    assert found.fingerprint == newer


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"schema": 1}'])
def test_a_damaged_or_foreign_profile_is_no_guess(bundle: Bundle, damage: bytes) -> None:
    path = Path(write_profile(bundle, profile(bundle)))
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_bytes(damage)
    Path(path.parent, "other.json").write_text(json.dumps(dict(document, bundle="another")), encoding="utf-8")
    assert find_profiles(bundle, ELSEWHERE._replace(threads="2")) == (None, None)


def test_a_guess_counts_for_the_same_graph_only(bundle: Bundle) -> None:
    guess = profile(bundle)
    assert set(first_durations(None, guess, {"stage1": "plain", "stage2": "swapped"})) == {"stage1"}


def test_few_runs_stand_for_all_and_the_slowest_is_among_them() -> None:
    runs = [float(k) for k in range(1, 101)]
    few = picked(runs)
    assert len(few) == PICKED
    assert (few[0], few[-1]) == (1.0, 100.0)
    assert picked([3.0, 1.0]) == (1.0, 3.0)
    assert max(scaled(few, [2.0, 2.0])) == pytest.approx(100.0 * 2.0 / sorted(few)[PICKED // 2])


def test_it_is_said_what_differs(bundle: Bundle) -> None:
    assert "power mode MAXN -> 15W" in told(ELSEWHERE._replace(power_mode="15W"), profile(bundle))


def command(*words: str) -> Tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *words], stdout=subprocess.PIPE, universal_newlines=True
    )
    printed = process.communicate()[0]
    return process.returncode, printed


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (
            ("bench", "--runs", "3", "--warmup", "0", "--no-profile"),
            lambda document: document["settings"]["guess"],
        ),
        (("doctor",), lambda document: document["bundle"]["guess"]),
    ],
)
def test_every_verb_that_predicts_says_when_it_guesses(
    bundle: Bundle, words: Tuple[str, ...], read: Callable[[Dict[str, Dict[str, str]]], str]
) -> None:
    call = (words[0], bundle.path, *words[1:])
    code, text = command(*call, "--json")
    assert code == 0
    assert read(json.loads(text)) is None
    write_profile(bundle, profile(bundle))
    assert "guessed from another device's profile (fake 1 ->" not in text
    assert "first predictions are guessed from another device's profile" in command(*call)[1]
    assert "module TX2 ->" in read(json.loads(command(*call, "--json")[1]))
