"""Sketches of the published networks that answer with more than one class: detectors, segmentation."""

from __future__ import annotations

import onnx_ir as ir

from benchmarks.published.classifiers import residual, separable
from benchmarks.published.sketch import Sketch


def fcn_resnet18(height: int, width: int, classes: int = 21) -> ir.Model:
    """Of jetson-inference: ResNet-18 without its head, and one 1x1 convolution to the classes at a 32nd of the size."""
    s = Sketch(3, height, width)
    x = residual(s, s.pool(s.conv(s.image, 64, 7, 2), 3, 2), 18)
    return s.model(s.conv(x, classes, 1, relu=False))


def ssd_mobilenet_v1(side: int = 300, classes: int = 91) -> ir.Model:
    """MLPerf's: MobileNet, four smaller scales, and for each of six two 1x1 convolutions to what its boxes hold and where."""
    s = Sketch(3, side, side)
    middle, x = separable(s, 1.0)
    scales = [middle, x]
    for narrow, channels in ((256, 512), (128, 256), (128, 256), (64, 128)):
        x = s.conv(s.conv(x, narrow, 1), channels, 3, 2)
        scales.append(x)
    answers = []
    for k, one in enumerate(scales):
        boxes = 6 if k else 3
        answers += [s.conv(one, boxes * classes, 1, relu=False), s.conv(one, 4 * boxes, 1, relu=False)]
    return s.model(*answers)
