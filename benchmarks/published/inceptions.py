"""Sketches of the Inception networks in TensorFlow's slim versions, which are what Jetsons were timed on."""

from __future__ import annotations

import onnx_ir as ir

from benchmarks.published.sketch import Sketch

CLASSES = 1000
Branch = tuple[int, ...]  # channels of a branch's convolutions
# Szegedy, arXiv 1409.4842 table 1: 1x1; 1x1, 3x3; 1x1, 5x5 (3x3 in slim); after the pooling.
V1: tuple[tuple[Branch, Branch, Branch, int], ...] = (
    ((64,), (96, 128), (16, 32), 32), ((128,), (128, 192), (32, 96), 64), ((192,), (96, 208), (16, 48), 64),
    ((160,), (112, 224), (24, 64), 64), ((128,), (128, 256), (24, 64), 64), ((112,), (144, 288), (32, 64), 64),
    ((256,), (160, 320), (32, 128), 128), ((256,), (160, 320), (32, 128), 128), ((384,), (192, 384), (48, 128), 128),
)  # fmt: skip
# Ioffe, arXiv 1502.03167 figure 5: 1x1; 1x1, 3x3; 1x1, 3x3, 3x3; after the pooling. An empty 1x1: the block halves the sides.
V2: tuple[tuple[Branch, Branch, Branch, int], ...] = (
    ((64,), (64, 64), (64, 96, 96), 32), ((64,), (64, 96), (64, 96, 96), 64), ((), (128, 160), (64, 96, 96), 0),
    ((224,), (64, 96), (96, 128, 128), 128), ((192,), (96, 128), (96, 128, 128), 128), ((160,), (128, 160), (128, 160, 160), 96),
    ((96,), (128, 192), (160, 192, 192), 96), ((), (128, 192), (192, 256, 256), 0), ((352,), (192, 320), (160, 224, 224), 128),
    ((352,), (192, 320), (192, 224, 224), 128),
)  # fmt: skip


def inception_v1(side: int = 224) -> ir.Model:
    """GoogLeNet."""
    s = Sketch(3, side, side)
    x = s.pool(s.conv(s.image, 64, 7, 2), 3, 2)
    x = s.pool(s.conv(s.conv(x, 64, 1), 192, 3), 3, 2)
    for k, block in enumerate(V1):
        x = _block(s, x, *block)
        if k in (1, 6):
            x = s.pool(x, 3, 2)
    return s.model(s.dense(s.mean(x), CLASSES))


def inception_v2(side: int = 224) -> ir.Model:
    """GoogLeNet with batch norms, whose first convolution slim makes separable."""
    s = Sketch(3, side, side)
    x = s.conv(s.conv(s.image, 24, 7, 2, groups=3, relu=False), 64, 1)
    x = s.pool(s.conv(s.conv(s.pool(x, 3, 2), 64, 1), 192, 3), 3, 2)
    for block in V2:
        x = _block(s, x, *block)
    return s.model(s.dense(s.mean(x), CLASSES))


def _block(s: Sketch, x: ir.Value, one: Branch, three: Branch, double: Branch, pooled: int) -> ir.Value:
    stride = 1 if one else 2
    found = [s.conv(x, one[0], 1)] if one else []
    for branch in (three, double):
        y = s.conv(x, branch[0], 1)
        for k, channels in enumerate(branch[1:], 2):
            y = s.conv(y, channels, 3, stride if k == len(branch) else 1)
        found.append(y)
    found.append(s.conv(s.pool(x, 3, 1), pooled, 1) if pooled else s.pool(x, 3, 2))
    return s.concat(*found)


def inception_v3(side: int = 299) -> ir.Model:
    """Szegedy, arXiv 1512.00567 table 1."""
    s = Sketch(3, side, side)
    x = s.conv(s.conv(s.conv(s.image, 32, 3, 2, 0), 32, 3, 1, 0), 64, 3)
    x = s.pool(s.conv(s.conv(s.pool(x, 3, 2, 0), 80, 1), 192, 3, 1, 0), 3, 2, 0)
    for pooled in (32, 64, 64):
        double = s.conv(s.conv(s.conv(x, 64, 1), 96, 3), 96, 3)
        x = s.concat(
            s.conv(x, 64, 1),
            s.conv(s.conv(x, 48, 1), 64, 5),
            double,
            s.conv(s.pool(x, 3, 1, 1, "AveragePool"), pooled, 1),
        )
    double = s.conv(s.conv(s.conv(x, 64, 1), 96, 3), 96, 3, 2, 0)
    x = s.concat(s.conv(x, 384, 3, 2, 0), double, s.pool(x, 3, 2, 0))
    for width in (128, 160, 160, 192):
        y = _line(s, s.conv(x, width, 1), (width, 192), 7)
        z = _line(s, s.conv(x, width, 1), (width, width, width, 192), 7)
        x = s.concat(s.conv(x, 192, 1), y, z, s.conv(s.pool(x, 3, 1, 1, "AveragePool"), 192, 1))
    y = s.conv(s.conv(x, 192, 1), 320, 3, 2, 0)
    z = s.conv(_line(s, s.conv(x, 192, 1), (192, 192), 7), 192, 3, 2, 0)
    x = s.concat(y, z, s.pool(x, 3, 2, 0))
    for _ in range(2):
        y, z = s.conv(x, 384, 1), s.conv(s.conv(x, 448, 1), 384, 3)
        x = s.concat(
            s.conv(x, 320, 1),
            _fork(s, y, 384),
            _fork(s, z, 384),
            s.conv(s.pool(x, 3, 1, 1, "AveragePool"), 192, 1),
        )
    return s.model(s.dense(s.mean(x), CLASSES))


def inception_v4(side: int = 299) -> ir.Model:
    """Szegedy, arXiv 1602.07261 figures 3 to 9."""
    s = Sketch(3, side, side)
    x = _stem(s)
    for _ in range(4):
        double = s.conv(s.conv(s.conv(x, 64, 1), 96, 3), 96, 3)
        x = s.concat(
            s.conv(x, 96, 1),
            s.conv(s.conv(x, 64, 1), 96, 3),
            double,
            s.conv(s.pool(x, 3, 1, 1, "AveragePool"), 96, 1),
        )
    x = s.concat(
        s.conv(x, 384, 3, 2, 0), s.conv(s.conv(s.conv(x, 192, 1), 224, 3), 256, 3, 2, 0), s.pool(x, 3, 2, 0)
    )
    for _ in range(7):
        y = _line(s, s.conv(x, 192, 1), (224, 256), 7)
        z = _line(s, s.conv(x, 192, 1), (192, 224, 224, 256), 7)
        x = s.concat(s.conv(x, 384, 1), y, z, s.conv(s.pool(x, 3, 1, 1, "AveragePool"), 128, 1))
    y = s.conv(s.conv(x, 192, 1), 192, 3, 2, 0)
    z = s.conv(_line(s, s.conv(x, 256, 1), (256, 320), 7), 320, 3, 2, 0)
    x = s.concat(y, z, s.pool(x, 3, 2, 0))
    for _ in range(3):
        y, z = s.conv(x, 384, 1), _line(s, s.conv(x, 384, 1), (448, 512), 3)
        x = s.concat(
            s.conv(x, 256, 1),
            _fork(s, y, 256),
            _fork(s, z, 256),
            s.conv(s.pool(x, 3, 1, 1, "AveragePool"), 256, 1),
        )
    return s.model(s.dense(s.mean(x), CLASSES))


def inception_resnet_v2(side: int = 299) -> ir.Model:
    """Szegedy, arXiv 1602.07261 section 3.2, with slim's first layers, those of version 3."""
    s = Sketch(3, side, side)
    x = s.conv(s.conv(s.conv(s.image, 32, 3, 2, 0), 32, 3, 1, 0), 64, 3)
    x = s.pool(s.conv(s.conv(s.pool(x, 3, 2, 0), 80, 1), 192, 3, 1, 0), 3, 2, 0)
    double = s.conv(s.conv(s.conv(x, 64, 1), 96, 3), 96, 3)
    x = s.concat(
        s.conv(x, 96, 1),
        s.conv(s.conv(x, 48, 1), 64, 5),
        double,
        s.conv(s.pool(x, 3, 1, 1, "AveragePool"), 64, 1),
    )
    for _ in range(10):
        y = s.concat(
            s.conv(x, 32, 1), s.conv(s.conv(x, 32, 1), 32, 3), s.conv(s.conv(s.conv(x, 32, 1), 48, 3), 64, 3)
        )
        x = s.add(s.conv(y, 320, 1, relu=False), x, relu=True)
    y = s.conv(s.conv(s.conv(x, 256, 1), 256, 3), 384, 3, 2, 0)
    x = s.concat(s.conv(x, 384, 3, 2, 0), y, s.pool(x, 3, 2, 0))
    for _ in range(20):
        y = s.concat(s.conv(x, 192, 1), _line(s, s.conv(x, 128, 1), (160, 192), 7))
        x = s.add(s.conv(y, 1088, 1, relu=False), x, relu=True)
    first, second = s.conv(s.conv(x, 256, 1), 384, 3, 2, 0), s.conv(s.conv(x, 256, 1), 288, 3, 2, 0)
    third = s.conv(s.conv(s.conv(x, 256, 1), 288, 3), 320, 3, 2, 0)
    x = s.concat(first, second, third, s.pool(x, 3, 2, 0))
    for _ in range(10):
        y = s.concat(s.conv(x, 192, 1), _line(s, s.conv(x, 192, 1), (224, 256), 3))
        x = s.add(s.conv(y, 2080, 1, relu=False), x, relu=True)
    return s.model(s.dense(s.mean(s.conv(x, 1536, 1)), CLASSES))


def _stem(s: Sketch) -> ir.Value:
    x = s.conv(s.conv(s.conv(s.image, 32, 3, 2, 0), 32, 3, 1, 0), 64, 3)
    x = s.concat(s.pool(x, 3, 2, 0), s.conv(x, 96, 3, 2, 0))
    y = s.conv(s.conv(x, 64, 1), 96, 3, 1, 0)
    z = s.conv(_line(s, s.conv(x, 64, 1), (64, 64), 7), 96, 3, 1, 0)
    x = s.concat(y, z)
    return s.concat(s.conv(x, 192, 3, 2, 0), s.pool(x, 3, 2, 0))


def _line(s: Sketch, x: ir.Value, channels: tuple[int, ...], length: int) -> ir.Value:
    """Convolutions of 1 x length and length x 1 in turns."""
    for k, count in enumerate(channels):
        x = s.conv(x, count, (1, length) if k % 2 == 0 else (length, 1))
    return x


def _fork(s: Sketch, x: ir.Value, channels: int) -> ir.Value:
    return s.concat(s.conv(x, channels, (1, 3)), s.conv(x, channels, (3, 1)))
