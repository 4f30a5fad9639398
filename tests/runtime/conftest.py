"""Sessions on toy bundles: with ONNX Runtime, and with a backend whose durations are told beforehand."""

from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from edgekit.bundle import Bundle
from edgekit.kernels.compiling import compiler_there
from edgekit.runtime.session import Session
from tests.runtime.virtual import FakeBackend, JumpingClock
from tests.toy_graphs import write_classifier, write_stereo

MakeSession = Callable[..., Session]


@pytest.fixture(scope="session")
def stereo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A stereo network of four stages, the third without an exit; shared, so do not change it."""
    return write_stereo(str(tmp_path_factory.mktemp("bundles") / "toy.edgekit"))


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A classifier whose first stage is instant and whose second takes tens of ms; shared."""
    return write_classifier(str(tmp_path_factory.mktemp("bundles") / "class.edgekit"), layers=40, width=500)


@pytest.fixture
def stereo_path(tmp_path: Path) -> Path:
    """The toy stereo bundle, to be damaged."""
    write_stereo(str(tmp_path / "toy.edgekit"))
    return tmp_path / "toy.edgekit"


@pytest.fixture
def session(stereo_bundle: Bundle) -> Iterator[Session]:
    """The toy stereo network on ONNX Runtime."""
    with Session.open(stereo_bundle.path, threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def needs_compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Skip what runs edgekit's own kernels where there is no C compiler to build them; they are kept for this test run alone."""
    if not compiler_there():
        pytest.skip("needs a C compiler (cc, gcc or clang, or $CC), and there is none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def virtual(stereo_bundle: Bundle) -> Iterator[MakeSession]:
    """Make a session of the toy stereo network whose stages take the given ms of a virtual clock.

    ``virtual({"stage1": 10, ...}, later={...}, cancel_ms=3)``: the durations of the warm-up, and those of frames after it.
    The session's worker thread already waits, so that time can jump.
    """
    opened: List[Session] = []

    def make(durations: Dict[str, float], later: Dict[str, float] = {}, cancel_ms: float = 0.0) -> Session:  # noqa: B006
        clock = JumpingClock()
        warm = 3

        def duration(stage: str, frame: int) -> float:
            return (later if frame > warm + 1 and stage in later else durations)[stage]

        backend = FakeBackend(clock, duration, cancel_ms)
        made = Session(stereo_bundle, backend, clock=clock, warmup=warm)
        opened.append(made)
        made.submit(**made.golden()[0]).result()
        backend.begun.clear()
        return made

    yield make
    for made in opened:
        assert isinstance(made.clock, JumpingClock)
        made.clock.leave()
        made.close()
