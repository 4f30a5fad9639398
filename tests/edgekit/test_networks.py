"""A bundle may hold several networks for one task; one that holds a single network is as it always was."""

import json
from pathlib import Path
from typing import Callable

import pytest

from edgekit.bundle import Manifest, NetworkSpec, read_bundle, write_bundle
from edgekit.canonical import self_hash
from edgekit.errors import BundleError, OptionError
from tests.toy_graphs import (
    alternatives_files,
    alternatives_manifest,
    stereo_files,
    stereo_manifest,
    write_alternatives,
    write_stereo,
)


@pytest.fixture
def manifest() -> Manifest:
    return alternatives_manifest(alternatives_files())


def test_the_networks_that_were_written_are_read(tmp_path: Path, manifest: Manifest) -> None:
    bundle = write_alternatives(str(tmp_path / "choice.edgekit"))
    read = read_bundle(bundle.path, check="hash").manifest
    assert read == manifest._replace(files=read.files)
    assert [network.name for network in read.networks] == ["small", "medium", "large"]
    assert read.exits["stage1"].source == "published"


def test_two_stages_with_the_same_graph_share_its_file(tmp_path: Path) -> None:
    bundle = write_alternatives(str(tmp_path / "choice.edgekit"))
    stages = bundle.manifest.stages
    assert stages[0].variants[0].graph == stages[1].variants[0].graph
    assert len(list(Path(bundle.path, "stages").iterdir())) == 3 < len(stages)


def test_a_manifest_of_one_network_says_nothing_of_networks(tmp_path: Path) -> None:
    document = stereo_manifest(stereo_files()).to_json()
    assert "networks" not in document
    assert document["exits"] == {
        "stage1": {"threshold": None, "accuracy": 0.5},
        "stage4": {"threshold": 0.25, "accuracy": None},
    }


def test_a_bundle_from_before_there_were_networks_reads_as_one(tmp_path: Path) -> None:
    bundle = write_stereo(str(tmp_path / "toy.edgekit"))
    path = Path(bundle.path, "manifest.json")
    before = json.loads(path.read_text(encoding="utf-8"))
    assert "networks" not in before
    assert before["sha256"] == self_hash(before)
    assert read_bundle(bundle.path).manifest.networks == ()


def test_one_of_the_networks_alone_is_a_manifest_like_any_other(manifest: Manifest) -> None:
    large, medium = manifest.only("large"), manifest.only("medium")
    assert [stage.name for stage in medium.stages] == ["stage2", "stage3"]
    assert [stage.name for stage in large.stages] == ["stage4"]
    assert set(medium.exits) == {"stage2", "stage3"}
    assert medium.inputs == manifest.inputs
    assert large.inputs[0].shape == (1, 3, 12, 16)
    assert large.options == {"e": 6}
    assert (large.name, large.networks) == ("large", ())
    assert [manifest.network_of(stage.name) for stage in manifest.stages] == [
        "small",
        "medium",
        "medium",
        "large",
    ]


def test_a_mistyped_network_is_named_with_what_was_meant(manifest: Manifest) -> None:
    with pytest.raises(
        OptionError,
        match=r"choice has no network 'larg' \(did you mean large\?\); it has small, medium, large",
    ):
        manifest.only("larg")
    with pytest.raises(OptionError, match="it holds only one"):
        stereo_manifest(stereo_files()).only("small")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda m: m._replace(networks=m.networks[:2]), "the networks' stages are stage1, stage2, stage3, one after the other"),
        (lambda m: m._replace(networks=m.networks[::-1]), "the networks' stages are stage4, stage2"),
        (lambda m: m._replace(networks=(NetworkSpec("all", tuple(s.name for s in m.stages)),)), "need different names"),
        (lambda m: m._replace(networks=tuple(n._replace(name="x") for n in m.networks)), "need different names"),
        (lambda m: m._replace(networks=(m.networks[0]._replace(name="a/b"), *m.networks[1:])), "'a/b' is not a name"),
        (lambda m: m._replace(task="stereo"), "must share theirs"),
        (
            lambda m: m._replace(
                networks=(*m.networks[:2], m.networks[2]._replace(inputs=(m.inputs[0]._replace(name="picture"),)))
            ),
            "all networks must be asked by image",
        ),
        (
            lambda m: m._replace(stages=(*m.stages[:2], m.stages[2]._replace(inputs=("logits9",)), m.stages[3])),
            "stage3 reads logits9",
        ),
        (lambda m: m._replace(stages=(*m.stages[:3], m.stages[3]._replace(exit=None))), "no stage of large has an exit"),
    ],
)  # fmt: skip
def test_networks_that_do_not_fit_their_stages_are_refused(
    tmp_path: Path, manifest: Manifest, change: Callable[[Manifest], Manifest], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        write_bundle(tmp_path / "wrong.edgekit", change(manifest), alternatives_files())
    assert list(tmp_path.iterdir()) == []
