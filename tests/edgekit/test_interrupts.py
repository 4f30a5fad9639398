"""Ctrl-C ends the program even where Python ignores what is raised."""

import gc
import os
import signal
import sys
import threading
import time

import pytest

from edgekit.interrupts import remembered


class Finalised:
    """Ctrl-C comes while this is thrown away; Python ignores every error then."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_python_itself_loses_a_ctrl_c_in_a_finaliser() -> None:
    one = Finalised()
    del one
    work(0.1)  # nothing is raised


def test_a_ctrl_c_in_a_finaliser_is_raised_a_moment_later() -> None:
    with remembered() as interrupts, pytest.raises(KeyboardInterrupt):
        one = Finalised()
        del one
        work(10)
    assert interrupts


def test_a_ctrl_c_in_the_importer_s_callback_is_raised_a_moment_later() -> None:
    # As in CPython's _get_module_lock: a weak reference's callback, in a file of the frozen importer.
    names = {"kill": lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.001))}
    exec(compile("def cb(reference):\n    kill()\n", "<frozen importlib._bootstrap>", "exec"), names)
    import weakref

    with remembered() as interrupts, pytest.raises(KeyboardInterrupt):
        one = threading.Event()
        reference = weakref.ref(one, names["cb"])  # type: ignore[arg-type]
        del one
        work(10)
    assert interrupts
    assert reference() is None


@pytest.mark.skipif(sys.version_info < (3, 8), reason="Python 3.8 and newer tell of errors that they ignore")
def test_a_ctrl_c_in_the_garbage_collector_s_callback_is_raised_a_moment_later() -> None:
    def interrupt(phase: str, info: object) -> None:
        gc.callbacks.remove(interrupt)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)

    gc.callbacks.append(interrupt)
    with remembered() as interrupts, pytest.raises(KeyboardInterrupt):
        gc.collect()
        work(10)
    assert interrupts


def test_everything_is_as_before_afterwards() -> None:
    hook = getattr(sys, "unraisablehook", None)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    with remembered():
        assert signal.getsignal(signal.SIGINT) is not handlers[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == handlers
    assert getattr(sys, "unraisablehook", None) is hook
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
