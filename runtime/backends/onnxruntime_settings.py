"""What an ONNX Runtime session is told beyond its number of threads, as far as its version understands it: when they spin, where
they run, and whose memory a stage works in."""

import re
from typing import Any, Dict, Mapping, Optional, Tuple

from edgekit.runtime.backends.cores import cores_to_keep_to

# Each session has worker threads of its own, and those of the stage that has just run go on spinning for a while: on two
# cores they made a chain of three stages 2.9 times as slow as the same graph uncut. Told to stop spinning at the end of a
# run, the chain takes 1.03 times as long; threads that never spin take 1.25 times as long.
# Where other processes want all cores too, threads that spin inside a run wait for others that do not run. Without a bound,
# one neighbour on two cores makes that 58 ms a frame, and 26 ms without spinning; a bound of 20 us makes it 31 ms, and keeps
# all of the speed where there is no neighbour, which a bound of 10 us does not (AnyNet at 368 x 1232; ONNX Runtime 1.31).
STOP_SPINNING = ("session.force_spinning_stop", "1")
BOUND_SPINNING = ("session.intra_op.spin_duration_us", "20")
NEVER_SPIN = ("session.intra_op.allow_spinning", "0")
# Between frames threads sleep, and a kernel may wake two of a stage's on one core and leave them there for some ms: in frames
# that came 30 times a second, stages took 1.2 to 1.7 times as long as in frames without a pause between them, and did not
# where all but the thread that calls had a core each. So they have, where they take every core anyway; not in real time, for which
# `Backend.let_move` says why, and where a kernel never leaves one of two waiting while a core is free. For the thread that calls,
# `CallersCore` sees to it.
PIN = "session.intra_op_thread_affinities"
FIRST_TO_STOP_SPINNING = (1, 14)
FIRST_TO_PIN = (1, 14)
FIRST_TO_BOUND_SPINNING = (1, 26)
# Stages run one after the other: what one has used as scratch memory is in the cache for the next. Five stages of 0.1 to 0.2 ms
# (MSDNet at 32 x 32) took 1.20 times as long as the same graph uncut with an arena each, and 1.10 times with one for all.
SHARE_MEMORY = ("session.use_env_allocators", "1")


def session_config(library: Any, threads: int, spin: bool) -> Dict[str, str]:
    """Configuration entries for sessions of ``threads`` threads; ``spin``: they may wait busily inside a run."""
    version = _number(str(library.__version__))
    config = dict(_spinning(version) if spin else [NEVER_SPIN], **_pinning(version, threads))
    if _share_memory(library):
        config.update([SHARE_MEMORY])
    return config


def _spinning(version: Tuple[int, ...]) -> Dict[str, str]:
    """With which threads spin inside a run, as far as this version can do it sensibly."""
    if version < FIRST_TO_STOP_SPINNING:
        return dict([NEVER_SPIN])
    return dict([STOP_SPINNING, BOUND_SPINNING] if version >= FIRST_TO_BOUND_SPINNING else [STOP_SPINNING])


def _pinning(version: Tuple[int, ...], threads: int) -> Dict[str, str]:
    """That gives a core to each of a session's own threads, where they are to take all that this process may use."""
    cores = cores_to_keep_to(threads)
    if version < FIRST_TO_PIN or not cores:
        return {}
    return {PIN: ";".join(str(core + 1) for core in cores[1:])}  # ONNX Runtime counts from 1


def callers_core(config: Mapping[str, str]) -> Optional[int]:
    """The core that a session's own threads leave to the one that calls; None where they are kept to none."""
    kept = [int(core) - 1 for core in config.get(PIN, "").split(";") if core]
    left = sorted(set(cores_to_keep_to(len(kept) + 1)) - set(kept))
    return left[0] if kept and left else None


def _share_memory(library: Any) -> bool:
    """Let this process have one arena for all sessions that ask for it; whether it has one."""
    try:
        kind = library.OrtMemoryInfo(
            "Cpu", library.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, library.OrtMemType.DEFAULT
        )
        library.create_and_register_allocator(kind, None)
    except AttributeError:  # a build without this part of the interface
        return False
    except Exception as error:  # ONNX Runtime's errors have no common class below Exception
        return "already" in str(error)
    return True


def _number(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
