"""Fixtures for every room's tests: the shared data, optional packages, other interpreters; and strictness about skips in CI.

Clean for Python 3.6, because tests/device runs under it with this file loaded.
"""

import importlib
import os
import signal
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Callable, Iterator, List

import hypothesis
import pytest

# How long an example takes says how busy the machine is, not whether a property holds
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

# Read when torch and NumPy are imported, here and in the processes that tests start. Networks of tests are small: on two threads
# these wait for each other by spinning, which beside a busy neighbour took 30 times as much of the processor (75 s for 2.2 s).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before pytest 7.0, the last for Python 3.6, puts an empty module in its place.
importlib.import_module("tests")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_ABSENT = "the shared data is absent"


@pytest.fixture(scope="session", autouse=True)
def _listening_to_ctrl_c() -> None:
    """A job in the background is started with Ctrl-C ignored, and so are its children: tests of Ctrl-C need it heard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: $EDGEKIT_SHARED, else ``shared`` beside the checkout."""
    folder = Path(os.environ.get("EDGEKIT_SHARED") or str(REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"{SHARED_ABSENT}: no {folder / 'data'}; set EDGEKIT_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def needs() -> Callable[..., ModuleType]:
    """Import an optional package by name, or skip the test and say which is missing."""

    def imported(name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"needs {name}, which is not installed ({error})")

    return imported


@pytest.fixture(scope="session")
def interpreter() -> Callable[[str], str]:
    """The path of a Python of another version, such as "3.6", or skip the test."""

    def found(version: str) -> str:
        process = subprocess.run(
            [str(REPOSITORY / "scripts" / "find-python"), version],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        if process.returncode != 0:
            pytest.skip(process.stderr.strip())
        return process.stdout.strip()

    return found


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Files with slow tests come first, so that at the end no processor is left alone with one of them."""
    slow = {item.fspath for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.fspath not in slow)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: object) -> Iterator[None]:
    """In CI the machine has everything but, perhaps, the shared data: any other skip is a failure."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if SHARED_ABSENT not in reason:
            report.outcome = "failed"
            report.longrepr = "skipped where CI is set and nothing may be missing: " + reason
