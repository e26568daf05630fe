"""Smooth functions of a place, from which shapes and paint are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def bump(x: Array, y: Array, at: tuple[float, float], size: tuple[float, float]) -> Array:
    """A soft hill of height 1 at a place, of a width and a height."""
    hill: Array = np.exp(-(((x - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2)
    return hill


def step(x: Array | float, low: Array | float, high: Array | float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((np.asarray(x) - low) / (np.asarray(high) - low), 0, 1)
    smooth: Array = t * t * (3 - 2 * t)
    return smooth
