"""What several backends are put through alike: threads that share a stage, and being chosen by what was measured."""

import threading
from typing import List

import numpy as np

import edgekit
from edgekit.bundle import Bundle
from edgekit.runtime.backends import Backend, open_backend
from edgekit.runtime.device.fingerprint import fingerprint_of
from edgekit.runtime.loading import choose_variants, read_golden
from edgekit.runtime.profile import Profile, StageProfile, bundle_hash, write_profile


def wrong_answers_to_threads(backend: Backend, bundle: Bundle, output: str) -> List[float]:
    """The factors of three threads, each with inputs of its own, whose answers of the loaded first stage were not theirs."""
    inputs, exits = read_golden(bundle)
    wrong: List[float] = []

    def work(factor: float) -> None:
        for _ in range(50):
            frame = backend.start({name: factor * one for name, one in inputs.items()})
            frame.run("stage1")
            if not np.allclose(frame.read(output), factor * exits["stage1"], atol=1e-4):
                wrong.append(factor)

    threads = [threading.Thread(target=work, args=(factor,)) for factor in (1.0, 2.0, 3.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def measured(bundle: Bundle, **ms: float) -> None:
    """Keep profiles of this device in which every stage takes so long on these backends."""
    for name, duration in ms.items():
        with open_backend(name, threads=1) as backend:
            fingerprint = fingerprint_of(backend.name, backend.version, backend.settings)
        chosen = choose_variants(bundle.manifest, name, None, None)
        stages = {stage: StageProfile(variant, (duration,) * 5) for stage, variant in chosen.items()}
        write_profile(bundle, Profile(fingerprint, bundle_hash(bundle), stages))


def taken(bundle: Bundle, **options: object) -> str:
    """The backend of a session that is opened with these options."""
    with edgekit.load(bundle.path, threads=1, warmup=0, **options) as session:  # type: ignore[arg-type]
        return session.backend.name


def check_taken_only_where_measured(bundle: Bundle, other: str) -> None:
    """That ``other`` is taken where it and ONNX Runtime were measured here and it was quicker, and where nothing else is asked for."""
    assert taken(bundle) == "onnxruntime"
    measured(bundle, **{other: 1.0})
    assert taken(bundle) == "onnxruntime", "it is not known how long that one takes"
    measured(bundle, onnxruntime=2.0)
    assert taken(bundle) == other
    assert taken(bundle, backend="onnxruntime") == "onnxruntime"
    assert taken(bundle, variants={"stage2": "plain"}) == "onnxruntime"
    assert taken(bundle, providers=["CPUExecutionProvider"]) == "onnxruntime"
    measured(bundle, onnxruntime=1.0)
    assert taken(bundle) == "onnxruntime", "a tie changes nothing"
