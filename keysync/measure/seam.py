"""The seam of a dub: how much steeper its picture is across the border of the mask than the source's.

Where nothing can be seen of the border, the picture changes there as it does in the source: the figure is about 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pixels on both sides of the border that are looked at, and the standard deviation that grain is averaged over.
REACH, GRAIN = 3, 0.7


def steepness(frame: NDArray[Any], mask: NDArray[np.bool_], reach: float = REACH, grain: float = GRAIN) -> float:
    """The mean gradient of a frame (h, w, 3) across the border of a mask (h, w), in levels a pixel.

    0 for a mask without a border.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter  # here: slow to import

    if mask.all() or not mask.any():
        return 0.0
    depth = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    down, across = np.gradient(gaussian_filter(depth, 2.0))
    size = np.maximum(np.hypot(down, across), 1e-6)
    grey = gaussian_filter(np.asarray(frame, np.float64).mean(-1), grain)
    y, x = np.gradient(grey)
    return float(np.abs((y * down + x * across) / size)[np.abs(depth) <= reach].mean())


def seam(
    sources: NDArray[Any],
    results: NDArray[Any],
    masks: NDArray[np.bool_],
    reach: float = REACH,
    grain: float = GRAIN,
) -> float:
    """How much steeper results (n, h, w, 3) are at the borders of masks (n, h, w) than their sources: 1 is unseen."""
    steep = [
        [steepness(frame, mask, reach, grain) for frame in pair]
        for *pair, mask in zip(sources, results, masks, strict=True)
    ]
    of_source, of_result = np.array(steep).sum(0).tolist()
    return float(of_result / max(of_source, 1e-9))
