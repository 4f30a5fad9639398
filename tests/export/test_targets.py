"""Every target names software that exists, and the general one is the oldest of all."""

from __future__ import annotations

import pytest

from edgekit.errors import OptionError
from edgekit.export.targets import find, targets
from edgekit.export.tensorrt_table import version


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_jetson_is_the_oldest_of_everything_that_a_jetson_has() -> None:
    general = find("jetson")
    for target in targets():
        if target.name.startswith("jetson") and target.tensorrt and general.tensorrt:
            assert general.opset <= target.opset
            assert _number(general.python) <= _number(target.python)
            assert _number(general.tensorrt) <= _number(target.tensorrt)


def test_the_opset_is_what_the_recorded_parser_reads() -> None:
    for target in targets():
        if target.tensorrt:
            assert version(target.tensorrt).max_opset == target.opset
            assert "{}.{}".format(*version(target.tensorrt).number) == target.tensorrt


def test_every_target_has_sources_and_reads_what_edgekit_writes() -> None:
    assert all(target.sources and target.opset >= 13 for target in targets())


def test_an_unknown_target_is_answered_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="jetson-orin"):
        find("jetson-thor")
