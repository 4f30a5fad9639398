"""Disparities as colours, so that a person sees at a glance what a network answered."""

from typing import Optional, Tuple

import numpy as np

# Turbo, a rainbow whose lightness rises and falls smoothly (A. Mikhailov, "Turbo, an improved rainbow colormap for
# visualization", Google AI blog 2019): every 15th of the 256 entries that were published.
TURBO = np.array(
    [
        (48, 18, 59), (63, 62, 156), (70, 102, 221), (69, 140, 253), (47, 178, 244), (26, 212, 208),
        (34, 235, 170), (82, 250, 122), (139, 255, 75), (183, 247, 53), (219, 226, 54), (245, 197, 58),
        (254, 161, 48), (249, 117, 29), (232, 75, 12), (206, 45, 4), (169, 22, 1), (122, 4, 3),
    ]
)  # fmt: skip


def turbo(shares: np.ndarray) -> np.ndarray:
    """Colours uint8 (..., 3) RGB for shares from 0 (far, blue) to 1 (near, red)."""
    steps = np.linspace(0.0, 1.0, 1024)
    anchors = np.linspace(0.0, 1.0, len(TURBO))
    table = np.stack([np.interp(steps, anchors, channel) for channel in TURBO.T], axis=-1)
    nearest = (np.clip(shares, 0.0, 1.0) * (len(steps) - 1) + 0.5).astype(np.int64)
    return np.asarray((table + 0.5).astype(np.uint8)[nearest])


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
