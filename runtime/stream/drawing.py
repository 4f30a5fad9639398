"""A picture of an answer, for a window or a video: what the camera saw beside what the network made of it."""

from typing import Optional, Sequence

import numpy as np

from edgekit.runtime.pictures.colors import color_disparity
from edgekit.runtime.pictures.resize import resize
from edgekit.runtime.stream.frame import Answer


def drawn(answer: Answer, largest: Optional[float] = None, classes: Sequence[str] = ()) -> np.ndarray:
    """uint8 (H, W, 3) RGB: stereo, the left picture above its disparity in colours; else the picture; with a line of text.

    Args:
        answer: one with an output.
        largest: px of the last colour; by default what is there, which flickers.
        classes: names of the classes, for classifiers.
    """
    picture = next(iter(answer.frame.inputs.values()))
    output = answer.output
    assert output is not None
    said = f"{answer.stage}  {answer.age_ms:.0f} ms"
    if output.ndim == 1:
        best = int(np.argmax(output))
        said = "{}  {}".format(classes[best] if best < len(classes) else f"class {best}", said)
        return _with_text(_shown(picture), said)
    colors = color_disparity(output, largest)
    shown = _shown(picture)
    if shown.shape[:2] != colors.shape[:2]:
        return _with_text(colors, said)
    return _with_text(np.concatenate([shown, colors]), said)


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture at another size, for a video, whose frames are all of one."""
    if picture.shape[:2] == (height, width):
        return picture
    planes = [resize(picture[..., channel].astype(np.float32), (height, width)) for channel in range(3)]
    return np.clip(np.stack(planes, axis=-1) + 0.5, 0, 255).astype(np.uint8)


def _shown(picture: np.ndarray) -> np.ndarray:
    """What was given to the network, as colours if it was a picture."""
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        return np.zeros((1, 1, 3), np.uint8)
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.repeat(picture.reshape(picture.shape[:2] + (1,)), 3, axis=2)
    return picture[..., :3]


def _with_text(picture: np.ndarray, text: str) -> np.ndarray:
    try:
        import cv2
    except ImportError:
        return picture
    picture = np.ascontiguousarray(picture)
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, thickness, cv2.LINE_AA)
    return picture
