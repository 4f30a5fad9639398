"""What a robot would use without a network: OpenCV's semi-global matching, measured as networks are."""

import time
from typing import List, Optional, Tuple

import numpy as np

DISPARITIES = 192  # px that it searches
BLOCK = 5  # px, its window
RUNS = 7


class BlockMatching:
    """OpenCV's StereoSGBM in its fastest mode (3WAY), on grey pictures, with the weights that its documentation advises.

    The matcher leaves out the left margin of ``DISPARITIES`` px. With ``margin`` the pictures are widened by as much first,
    so that it answers there too, in a fifth more time.
    """

    def __init__(self, margin: bool = False) -> None:
        """Raises ImportError where OpenCV is not installed."""
        import cv2

        self._cv2 = cv2
        self.margin = DISPARITIES if margin else 0
        self.matcher = cv2.StereoSGBM_create(  # type: ignore[attr-defined]  # the name that OpenCV 3 knows too
            minDisparity=0, numDisparities=DISPARITIES, blockSize=BLOCK, P1=8 * BLOCK**2, P2=32 * BLOCK**2,
            disp12MaxDiff=1, preFilterCap=63, uniquenessRatio=10, speckleWindowSize=100, speckleRange=2,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )  # fmt: skip

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """RGB pictures uint8 (H, W, 3) to the disparity float32 (H, W) px, -1 where the matcher gives none."""
        cv2 = self._cv2
        views = [cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in (left, right)]
        if self.margin:
            views = [cv2.copyMakeBorder(view, 0, 0, self.margin, 0, cv2.BORDER_REPLICATE) for view in views]
        found = self.matcher.compute(views[0], views[1])[:, self.margin :].astype(np.float32) / 16
        return np.asarray(np.where(found < 0, np.float32(-1), found))


def match(left: np.ndarray, right: np.ndarray) -> Optional[Tuple[float, np.ndarray]]:
    """The median ms that the matcher takes for a pair, and its disparity (H, W) px.

    None where OpenCV is not installed, or the pictures are narrower than what it searches.
    """
    if left.shape[1] <= DISPARITIES + BLOCK:
        return None
    try:
        matching = BlockMatching()
    except ImportError:
        return None
    found = matching(left, right)
    times: List[float] = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        found = matching(left, right)
        times.append((time.perf_counter() - begin) * 1e3)
    return float(np.median(times)), found
