"""Arguments of the wrong kind to `load` and `export` are answered with a sentence that names them, never with Python's own errors."""

from typing import Any

import pytest

import edgekit
from edgekit.errors import OptionError
from tests.toy_graphs import write_stereo


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_stereo(str(tmp_path_factory.mktemp("bundle") / "toy.edgekit")).path


@pytest.mark.parametrize(
    "options",
    [
        {"providers": 3},
        {"providers": [3]},
        {"providers": [("CPUExecutionProvider", {})]},
        {"providers": True},
        {"threads": "x"},
        {"threads": 1.5},
        {"variants": [1]},
        {"variants": {"stage2": ["plain"]}},
        {"warmup": "x"},
        {"confidence": "x"},
        {"policies": 3},
        {"network": 3},
        {"priority": 3},
        {"backend": 3},
        {"clock": 3},
    ],
)
def test_load_names_what_is_wrong(bundle: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as said:
        edgekit.load(bundle, **options)
    (name,) = options
    assert name.rstrip("s") in str(said.value) or str(options[name]) in str(said.value)


@pytest.mark.parametrize(
    "options",
    [
        {"model": 3},
        {"model": None},
        {"target": 3},
        {"checkpoint": []},
        {"out": 3},
        {"size": "x"},
        {"size": 3},
        {"config": 3},
        {"config": "x"},
        {"config": {3: 4}},
        {"alternatives": [1]},
    ],
)
def test_export_names_what_is_wrong(tmp_path: Any, options: dict[str, Any]) -> None:
    pytest.importorskip("torch", reason="needs torch, which is not installed")
    export = edgekit.export
    given = {"model": "anynet", "out": tmp_path / "x.edgekit", **options}
    with pytest.raises(OptionError) as said:
        export(**given)
    (name,) = options
    assert name in str(said.value)
