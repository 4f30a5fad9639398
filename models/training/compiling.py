"""torch.compile for trainings: what it needs is there before anything starts, and what it builds outlives no training."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import OptionError

FOLDER = "compiled"  # in the training's --out
_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def check_compiler() -> None:
    """Make sure that torch.compile can build a step here.

    Raises:
        OptionError: there is no C++ compiler, or no header of this Python.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise OptionError(
            f"--compiled needs a C++ compiler, and {compiler} is not there: install it (Debian and Ubuntu: apt install g++), "
            "name another one in CXX, or leave --compiled out"
        )
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").exists():
        raise OptionError(
            f"--compiled needs Python's headers, and {headers} has no Python.h: install them (Debian and Ubuntu: "
            "apt install python3-dev), or leave --compiled out"
        )


@contextmanager
def compiling(out: Path) -> Iterator[None]:
    """Let torch.compile build within ``out``, in a folder that is new now and gone afterwards.

    A training that is killed while it compiles leaves half a library, on which torch fails whenever it finds it again.

    Raises:
        OptionError: a step could not be compiled.
    """
    # Here, for these take a second that most trainings need not wait.
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.utils import clear_caches

    folder, before = out / FOLDER, os.environ.get(_CACHE)
    shutil.rmtree(folder, ignore_errors=True)
    clear_caches()
    os.environ[_CACHE] = str(folder.resolve())
    try:
        yield
    except TorchDynamoException as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OptionError(
            f"torch.compile could not build the training step ({first.strip()}); go on without --compiled, in another --out"
        ) from error
    finally:
        if before is None:
            os.environ.pop(_CACHE, None)
        else:
            os.environ[_CACHE] = before
        shutil.rmtree(folder, ignore_errors=True)
