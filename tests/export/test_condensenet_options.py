"""CondenseNets of options drawn at random, from their training's file to a session's answer."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgekit
from edgekit.errors import OptionError
from edgekit.models.condensenet import CondenseNet, CondenseNetOptions, converted


def _drawn(seed: int) -> CondenseNetOptions:
    """Options whose channels divide."""
    chosen = random.Random(seed)
    while True:
        blocks = chosen.choice([1, 2, 3])
        data = chosen.choice(["cifar10", "cifar100", "imagenet"])
        options = CondenseNetOptions(
            stages=tuple(chosen.choice([1, 2, 3]) for _ in range(blocks)), growth=tuple(chosen.choice([4, 8, 12, 16, 24]) for _ in range(blocks)),
            data=data, bottleneck=chosen.choice([1, 2, 3, 4]), group_1x1=chosen.choice([1, 2, 4, 8]),
            group_3x3=chosen.choice([1, 2, 4]), condense_factor=chosen.choice([1, 2, 4, 8]), num_classes=chosen.choice([2, 7, 10]),
            group_lasso_lambda=1e-5,
        )  # fmt: skip
        try:
            options.check()
        except OptionError:
            continue
        return options


def _trained(options: CondenseNetOptions, seed: int) -> CondenseNet:
    """A network in training form that is done condensing, with norms of both signs."""
    torch.manual_seed(seed)
    net = CondenseNet(options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(module.running_var, 0.5, 2)
    net.condense(1.0)
    return net.eval()


@pytest.mark.parametrize("seed", range(4))
def test_a_training_s_file_of_any_options_keeps_its_answers_in_every_form(seed: int, tmp_path: Path) -> None:
    options = _drawn(seed)
    net = _trained(options, seed)
    shrink = options.stem_stride * 2 ** (len(options.stages) - 1)
    side = options.last_pool * shrink
    picture = np.random.default_rng(seed).standard_normal((1, 3, side, side), dtype=np.float32)
    told = {"group_1x1": options.group_1x1, "condense_factor": options.condense_factor, "data": options.data}
    # The authors' converted files hold half of the classifier.
    for form, given in ((net, {**told, "classifier_share": 1}), (converted(net), {"data": options.data})):
        with torch.no_grad():
            wanted = form(torch.from_numpy(picture)).numpy()
        torch.save({"state_dict": form.state_dict()}, tmp_path / "net.pth.tar")
        bundle = edgekit.export(
            model="condensenet", checkpoint=tmp_path / "net.pth.tar", config=given, size=(side, side), out=tmp_path / "net.edgekit",
            overwrite=True,
        )  # fmt: skip
        (stage,) = bundle.manifest.stages
        for variant in stage.variants:
            with edgekit.load(bundle.path, threads=1, variants={stage.name: variant.name}) as session:
                answer = session.infer(image=picture).exits[stage.name]
            assert np.abs(answer - wanted).max() <= 1e-3 * np.abs(wanted).max(), (options, variant.name)


def test_a_share_of_the_classifier_that_keeps_none_of_its_inputs_is_refused(tmp_path: Path) -> None:
    options = CondenseNetOptions(
        stages=(1,), growth=(4,), data="cifar10", group_1x1=1, group_3x3=1, condense_factor=1, num_classes=2
    )
    torch.save({"state_dict": CondenseNet(options).state_dict()}, tmp_path / "net.pth.tar")
    config = {"group_1x1": 1, "condense_factor": 1, "data": "cifar10", "classifier_share": 0.01}
    with pytest.raises(OptionError, match=r"classifier_share=0.01: keeps none of the classifier's 12 inputs"):
        edgekit.export(
            model="condensenet",
            checkpoint=tmp_path / "net.pth.tar",
            config=config,
            size=(8, 8),
            out=tmp_path / "x.edgekit",
        )
