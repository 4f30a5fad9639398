"""The kernels, once for all tests of a file."""

from collections.abc import Iterator

import pytest

from edgekit.errors import BackendError
from edgekit.kernels import Kernels
from edgekit.kernels.compiling import find_compiler


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    """With two threads."""
    try:
        find_compiler()
    except BackendError as error:
        pytest.skip(f"no C compiler: {error}")
    found = Kernels(threads=2)
    yield found
    found.close()
