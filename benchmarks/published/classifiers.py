"""Sketches of the classifiers that Jetsons were timed on, each from its paper; widths of the authors' released models."""

from __future__ import annotations

import onnx_ir as ir

from benchmarks.published.sketch import Sketch, sizes

CLASSES = 1000


def alexnet(side: int = 224) -> ir.Model:
    """Krizhevsky, arXiv 1404.5997 (one column)."""
    s = Sketch(3, side, side)
    x = s.pool(s.conv(s.image, 64, 11, 4, 2), 3, 2, 0)
    x = s.pool(s.conv(x, 192, 5), 3, 2, 0)
    x = s.conv(s.conv(s.conv(x, 384, 3), 256, 3), 256, 3)
    x = s.pool(x, 3, 2, 0)
    return s.model(s.dense(s.dense(s.dense(x, 4096, True), 4096, True), CLASSES))


def vgg(layers: int, side: int = 224) -> ir.Model:
    """Simonyan and Zisserman, table 1 of arXiv 1409.1556; batch norms, where it has them, fold into its convolutions."""
    s = Sketch(3, side, side)
    depth = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[layers]
    x = s.image
    for width, count in zip((64, 128, 256, 512, 512), depth, strict=True):
        for _ in range(count):
            x = s.conv(x, width, 3)
        x = s.pool(x, 2, 2, 0)
    return s.model(s.dense(s.dense(s.dense(x, 4096, True), 4096, True), CLASSES))


def squeezenet(version: str, side: int = 224) -> ir.Model:
    """Iandola, arXiv 1602.07360; 1.1 from its repository: smaller first convolution, earlier pooling."""
    s = Sketch(3, side, side)

    def fire(x: ir.Value, squeeze: int, expand: int) -> ir.Value:
        x = s.conv(x, squeeze, 1)
        return s.concat(s.conv(x, expand, 1), s.conv(x, expand, 3))

    x = s.conv(s.image, 96, 7, 2, 0) if version == "1.0" else s.conv(s.image, 64, 3, 2, 0)
    pooled_before = {"1.0": (0, 3, 7), "1.1": (0, 2, 4)}[version]
    for k, width in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        if k in pooled_before:
            x = s.pool(x, 3, 2, 0)
        x = fire(x, width, 4 * width)
    return s.model(s.mean(s.conv(x, CLASSES, 1)))


def resnet(layers: int, side: int = 224, preactivated: bool = False) -> ir.Model:
    """He, arXiv 1512.03385 table 1, with the stride in the 3x3 convolution; preactivated: arXiv 1603.05027."""
    s = Sketch(3, side, side)
    x = residual(s, s.pool(s.conv(s.image, 64, 7, 2), 3, 2), layers, preactivated)
    return s.model(s.dense(s.mean(x), CLASSES))


def residual(s: Sketch, x: ir.Value, layers: int, preactivated: bool = False) -> ir.Value:
    """A residual network's four stages."""
    depth = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[
        layers
    ]
    for stage, count in enumerate(depth):
        width = 64 << stage
        for k in range(count):
            stride = 2 if stage and not k else 1
            out = width if layers < 50 else 4 * width
            y = s.relu(s.norm(x)) if preactivated else x
            short = s.conv(y, out, 1, stride, 0, relu=False) if sizes(x)[1] != out or stride > 1 else x
            if layers < 50:
                y = s.conv(s.conv(y, width, 3, stride), width, 3, relu=False)
            else:
                y = s.conv(s.conv(s.conv(y, width, 1), width, 3, stride), out, 1, relu=False)
            x = s.add(y, short, relu=not preactivated)
    return s.relu(s.norm(x)) if preactivated else x


def densenet(layers: int, side: int = 224) -> ir.Model:
    """Huang, arXiv 1608.06993 table 1; 161 has growth 48, others 32."""
    s = Sketch(3, side, side)
    depth = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}[layers]
    growth = 48 if layers == 161 else 32
    x = s.pool(s.conv(s.image, 2 * growth, 7, 2), 3, 2)
    for block, count in enumerate(depth):
        features = [x]  # torchvision's way, which was timed: every layer concatenates all that came before
        for _ in range(count):
            new = s.conv(s.relu(s.norm(s.concat(*features))), 4 * growth, 1)
            features.append(s.conv(new, growth, 3, relu=False))
        x = s.relu(s.norm(s.concat(*features)))
        if block < 3:
            x = s.pool(s.conv(x, sizes(x)[1] // 2, 1, relu=False), 2, 2, 0, "AveragePool")
    return s.model(s.dense(s.mean(x), CLASSES))


def mobilenet_v1(width: float = 1.0, side: int = 224) -> ir.Model:
    """Howard, arXiv 1704.04861 table 1."""
    s = Sketch(3, side, side)
    return s.model(s.dense(s.mean(separable(s, width)[-1]), CLASSES))


def separable(s: Sketch, width: float) -> tuple[ir.Value, ir.Value]:
    """MobileNet's convolutions, each depthwise and then pointwise: what they give at a 16th and at a 32nd of the size."""
    x = middle = s.conv(s.image, int(32 * width), 3, 2)
    for channels, stride in (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)
    ):  # fmt: skip
        middle = x if stride == 2 else middle
        x = s.conv(x, sizes(x)[1], 3, stride, groups=sizes(x)[1])
        x = s.conv(x, int(channels * width), 1)
    return middle, x


def inverted(s: Sketch, x: ir.Value, channels: int, times: int, kernel: int, stride: int) -> ir.Value:
    """MobileNetV2's block: wider, depthwise, narrow again."""
    y = s.conv(x, sizes(x)[1] * times, 1) if times > 1 else x
    y = s.conv(s.conv(y, sizes(y)[1], kernel, stride, groups=sizes(y)[1]), channels, 1, relu=False)
    return s.add(y, x) if stride == 1 and sizes(x)[1] == channels else y


def mobilenet_v2(side: int = 224) -> ir.Model:
    """Sandler, arXiv 1801.04381 table 2."""
    s = Sketch(3, side, side)
    x = s.conv(s.image, 32, 3, 2)
    for times, channels, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    ):  # fmt: skip
        for k in range(count):
            x = inverted(s, x, channels, times, 3, stride if k == 0 else 1)
    return s.model(s.dense(s.mean(s.conv(x, 1280, 1)), CLASSES))


def mnasnet(width: float, side: int = 224) -> ir.Model:
    """Tan, arXiv 1807.11626, MnasNet-B1; widths in multiples of 8."""
    s = Sketch(3, side, side)

    def wide(channels: int) -> int:
        rounded = max(8, int(channels * width + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels * width else rounded

    x = s.conv(s.image, wide(32), 3, 2)
    x = s.conv(s.conv(x, sizes(x)[1], 3, groups=sizes(x)[1]), wide(16), 1, relu=False)
    for times, channels, count, kernel, stride in (
        (3, 24, 3, 3, 2), (3, 40, 3, 5, 2), (6, 80, 3, 5, 2), (6, 96, 2, 3, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)
    ):  # fmt: skip
        for k in range(count):
            x = inverted(s, x, wide(channels), times, kernel, stride if k == 0 else 1)
    return s.model(s.dense(s.mean(s.conv(x, 1280, 1)), CLASSES))


def shufflenet_v2(width: str, side: int = 224) -> ir.Model:
    """Ma, arXiv 1807.11164 table 5."""
    s = Sketch(3, side, side)
    widths = {
        "0.5": (48, 96, 192, 1024), "1.0": (116, 232, 464, 1024), "1.5": (176, 352, 704, 1024), "2.0": (244, 488, 976, 2048)
    }[width]  # fmt: skip

    def branch(x: ir.Value, channels: int, stride: int) -> ir.Value:
        x = s.conv(x, channels, 1)
        x = s.conv(x, channels, 3, stride, groups=channels, relu=False)
        return s.conv(x, channels, 1)

    x = s.pool(s.conv(s.image, 24, 3, 2), 3, 2)
    for channels, count in zip(widths[:3], (4, 8, 4), strict=True):
        kept = s.conv(s.conv(x, sizes(x)[1], 3, 2, groups=sizes(x)[1], relu=False), channels // 2, 1)
        x = s.shuffle(s.concat(kept, branch(x, channels // 2, 2)))
        for _ in range(count - 1):
            x = s.shuffle(s.concat(s.half(x), branch(s.half(x), channels // 2, 1)))
    return s.model(s.dense(s.mean(s.conv(x, widths[3], 1)), CLASSES))
