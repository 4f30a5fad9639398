"""A subnet's batch norms take their statistics from a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.errors import InputError, OptionError
from edgekit.models.recalibration import FEWEST, read_picture, recalibrate
from edgekit.models.staged import ImageInput

SPEC = ImageInput("image", 24, 32, crop=0.875)


@pytest.fixture
def pictures(tmp_path: Path, needs: Callable[..., ModuleType]) -> Path:
    cv2 = needs("cv2")
    random = np.random.default_rng(0)
    for k in range(FEWEST + 20):
        cv2.imwrite(str(tmp_path / f"{k:03}.png"), random.integers(0, 256, (40 + k % 3, 48, 3), np.uint8))
    return tmp_path


def test_one_layers_statistics_are_those_of_all_pictures(pictures: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    seen: list[tuple[int, int]] = []
    assert recalibrate(net, pictures, SPEC, lambda done, of: seen.append((done, of))) == FEWEST + 20
    with torch.no_grad():
        batch = torch.cat([net[0](read_picture(path, SPEC)) for path in sorted(pictures.glob("*.png"))])
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    assert torch.allclose(norm.running_mean, batch.mean((0, 2, 3)), atol=1e-5)
    # Averaged over batches
    assert torch.allclose(norm.running_var, batch.var((0, 2, 3), correction=0), rtol=1e-2)
    assert seen == [(50, 52), (52, 52)]


def test_a_later_layer_sees_its_predecessor_renormalised(pictures: Path) -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    recalibrate(net, pictures, SPEC)
    second = net[1]
    assert (
        isinstance(second, nn.BatchNorm2d)
        and second.running_mean is not None
        and second.running_var is not None
    )
    assert torch.allclose(second.running_mean, torch.zeros(3), atol=1e-5)
    assert torch.allclose(second.running_var, torch.ones(3), atol=1e-3)


def test_too_few_or_unreadable_pictures_are_refused(pictures: Path) -> None:
    for path in sorted(pictures.glob("*.png"))[5:]:
        path.unlink()
    with pytest.raises(OptionError, match=f"holds 5 pictures, statistics need at least {FEWEST}"):
        recalibrate(nn.Sequential(), pictures, SPEC)
    for k in range(FEWEST):
        (pictures / f"bad{k}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="not a readable picture"):
        recalibrate(nn.Sequential(), pictures, SPEC)
    with pytest.raises(OptionError, match="no such folder"):
        recalibrate(nn.Sequential(), pictures / "absent", SPEC)
