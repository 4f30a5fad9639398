"""Disparities as colours, so that a person sees at a glance what a network answered."""

from typing import Optional, Tuple

import numpy as np

# Turbo, a rainbow whose lightness rises and falls smoothly: the polynomial approximation that its author published
# (A. Mikhailov, "Turbo, an improved rainbow colormap for visualization", Google AI blog 2019), lowest power first.
TURBO = np.array(
    [
        [0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943],
        [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604],
        [0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973],
    ]
)


def turbo(shares: np.ndarray) -> np.ndarray:
    """Colours uint8 (..., 3) RGB for shares from 0 (far, blue) to 1 (near, red)."""
    steps = np.linspace(0.0, 1.0, 1024)
    table = np.stack([np.polyval(channel[::-1], steps) for channel in TURBO], axis=-1)
    table = (np.clip(table, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.asarray(table[(np.clip(shares, 0.0, 1.0) * 1023.0 + 0.5).astype(np.int64)])


def disparity_range(disparity: np.ndarray, largest: Optional[float] = None) -> Tuple[float, float]:
    """The range in px that a picture of ``disparity`` (H, W) px spans: 0 to ``largest``, or its own 1st to 99th percentile."""
    if largest is not None:
        return 0.0, largest
    known = disparity[np.isfinite(disparity)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, (1.0, 99.0))
    return float(low), float(max(high, low + 1e-6))


def color_disparity(disparity: np.ndarray, largest: Optional[float] = None) -> np.ndarray:
    """A disparity, float32 (H, W) px, as a picture uint8 (H, W, 3) RGB; unknown pixels are black."""
    low, high = disparity_range(disparity, largest)
    known = np.isfinite(disparity)
    colors = turbo((np.where(known, disparity, low) - low) / (high - low))
    colors[~known] = 0
    return colors
