"""Batch norms of a subnet from pictures: a supernet's statistics are averages over its subnets, and fit none of them.

What the authors do before they evaluate a subnet (OFA, arXiv 1908.09791, appendix): pass pictures through it, and replace every
batch norm's mean and variance by the averages over the batches; each layer already sees its predecessors renormalised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.errors import InputError, OptionError
from edgekit.models.staged import ImageInput

FEWEST = 32  # pictures: with fewer, a channel's variance at the last resolutions is guesswork
MOST = 2000  # the authors' number
BATCH = 50
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}

Progress = Callable[[int, int], None]  # pictures done, of how many


def recalibrate(
    net: nn.Module, where: str | Path, spec: ImageInput, progress: Progress = lambda done, of: None
) -> int:
    """Set the statistics of every batch norm of ``net`` from pictures, and return of how many.

    Args:
        where: a folder, whose pictures are used and those below it; or data of `edgekit train` that is no folder.

    Raises:
        OptionError: there is no such folder or data, or fewer than 32 pictures in it.
        InputError: a picture cannot be read.
    """
    if not is_folder(where):
        return _recalibrate_on_data(net, where, spec, progress)
    found = pictures_in(where)

    def batches() -> Iterator[Tensor]:
        for begin in range(0, len(found), BATCH):
            chosen = found[begin : begin + BATCH]
            yield torch.cat([read_picture(path, spec) for path in chosen])
            progress(begin + len(chosen), len(found))

    recalibrate_on(net, batches())
    return len(found)


def recalibrate_on(net: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the statistics of every batch norm of ``net`` to their averages over batches (N, 3, H, W)."""
    with torch.no_grad(), _averaging(net) as weight:
        for batch in batches:
            weight[0] = len(batch)
            net(batch)


def is_folder(where: str | Path) -> bool:
    """Whether pictures are to be looked for in a folder, not in a file or under the name of a data set."""
    return not Path(where).is_file() and str(where) != "fashion-mnist"


def _recalibrate_on_data(net: nn.Module, where: str | Path, spec: ImageInput, progress: Progress) -> int:
    from edgekit.models.training.classification.sources import find_source

    crop = spec.crop or 1.0
    images = find_source(where, max(round(side / crop) for side in (spec.height, spec.width))).train.images
    step = max(1.0, len(images) / MOST)
    images = images[[int(k * step) for k in range(min(len(images), MOST))]]
    if len(images) < FEWEST:
        raise OptionError(
            f"recalibrate={where}: holds {len(images)} pictures, statistics need at least {FEWEST}"
        )

    def batches() -> Iterator[Tensor]:
        for begin in range(0, len(images), BATCH):
            yield normalised(images[begin : begin + BATCH], spec)
            progress(min(begin + BATCH, len(images)), len(images))

    recalibrate_on(net, batches())
    return len(images)


def normalised(images: NDArray[np.uint8], spec: ImageInput) -> Tensor:
    """Pictures (N, H, W, 3), cut at their centre, as the network takes them: (N, 3, height, width)."""
    top, left = (images.shape[1] - spec.height) // 2, (images.shape[2] - spec.width) // 2
    cut = images[:, top : top + spec.height, left : left + spec.width]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return (torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float() / 255 - mean) / std


def pictures_in(folder: str | Path) -> list[Path]:
    """The pictures to use, spread evenly over all of them in the order of their names.

    Raises:
        OptionError: there is no such folder, or too few pictures in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise OptionError(f"recalibrate={folder}: no such folder")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES)
    if len(found) < FEWEST:
        raise OptionError(
            f"recalibrate={folder}: holds {len(found)} pictures, statistics need at least {FEWEST}"
        )
    step = max(1.0, len(found) / MOST)
    return [found[int(k * step)] for k in range(min(len(found), MOST))]


def read_picture(path: Path, spec: ImageInput) -> Tensor:
    """A picture file as the network's input (1, 3, H, W): resized to cover, cropped at the centre, normalised.

    Raises:
        InputError: it cannot be read.
        OptionError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise OptionError(
            f"recalibrate: reading pictures needs OpenCV ({error}): pip install edgekit[train]"
        ) from error
    data = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if data is None:
        raise InputError(f"{path}: not a readable picture; take it out of the folder")
    picture = torch.from_numpy(np.ascontiguousarray(data[:, :, ::-1])).permute(2, 0, 1).float()[None]
    wanted = [round(side / (spec.crop or 1.0)) for side in (spec.height, spec.width)]
    scale = max(side / has for side, has in zip(wanted, picture.shape[2:], strict=True))
    size = [max(side, round(has * scale)) for side, has in zip(wanted, picture.shape[2:], strict=True)]
    resized = F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (size[0] - spec.height) // 2, (size[1] - spec.width) // 2
    cut = resized[:, :, top : top + spec.height, left : left + spec.width] / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return (cut - mean) / std


@contextlib.contextmanager
def _averaging(net: nn.Module) -> Iterator[list[int]]:
    """While active, every batch norm normalises by its batch; afterwards it has the averages. Yields the batch's weight."""
    weight = [1]
    sums: dict[nn.BatchNorm2d, tuple[Tensor, Tensor, int]] = {}

    def before(norm: nn.Module, inputs: Sequence[Tensor]) -> None:
        assert (
            isinstance(norm, nn.BatchNorm2d)
            and norm.running_mean is not None
            and norm.running_var is not None
        )
        var, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)  # read at once by the batch norm itself, which is in inference mode
        norm.running_var.copy_(var)
        means, variances, count = sums.get(norm, (torch.zeros_like(mean), torch.zeros_like(var), 0))
        sums[norm] = (means + weight[0] * mean, variances + weight[0] * var, count + weight[0])

    handles = [
        module.register_forward_pre_hook(before)
        for module in net.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    try:
        net.eval()
        yield weight
    finally:
        for handle in handles:
            handle.remove()
    for norm, (means, variances, count) in sums.items():
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(means / count)
        norm.running_var.copy_(variances / count)
