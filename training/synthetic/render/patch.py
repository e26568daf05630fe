"""A part of a picture, drawn with supersampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .opencv import cv2
from .raster import Floats

Array = NDArray[np.float64]


class Patch:
    """Covers the points (n, 2) in pixels and `margin` pixels around them, clipped to the picture (h, w).

    `factor` canvas pixels per picture pixel in each direction. Empty if the points are outside the picture.
    """

    SHIFT = 4  # fractional bits of OpenCV's coordinates

    def __init__(self, points: Array, margin: float, size: tuple[int, int], factor: int) -> None:
        h, w = size
        low = np.clip(np.floor(points.min(0) - margin), 0, (w, h)).astype(int)
        high = np.clip(np.ceil(points.max(0) + margin), 0, (w, h)).astype(int)
        self.factor = factor
        self.left, self.top = (int(v) for v in low)
        self.width, self.height = (int(v) for v in np.maximum(high - low, 0))

    @property
    def empty(self) -> bool:
        return self.width < 1 or self.height < 1

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns of the picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def blank(self, *values: float) -> Floats:
        """A canvas (h, w) or (h, w, k) of one value."""
        shape = (self.height * self.factor, self.width * self.factor)
        if len(values) == 1:
            return np.full(shape, values[0], dtype=np.float32)
        return np.broadcast_to(np.array(values, dtype=np.float32), (*shape, len(values))).copy()

    def here(self, points: Array) -> Array:
        """Picture coordinates as canvas coordinates, where (0, 0) is the middle of the first pixel."""
        moved: Array = (points - (self.left, self.top)) * self.factor - 0.5
        return moved

    def places(self) -> tuple[Floats, Floats]:
        """x (1, w) and y (h, 1) of the canvas pixels in picture coordinates."""
        factor = np.float32(self.factor)
        x = (np.arange(self.width * self.factor, dtype=np.float32) + 0.5) / factor + self.left
        y = (np.arange(self.height * self.factor, dtype=np.float32) + 0.5) / factor + self.top
        return x[None], y[:, None]

    def fill(self, canvas: Floats, points: Array, value: tuple[float, ...] | float) -> None:
        """Fills a polygon (n, 2) in picture coordinates."""
        cv2.fillPoly(canvas, [self._fixed(points)], _scalar(value), cv2.LINE_8, self.SHIFT)

    def line(self, canvas: Floats, points: Array, value: tuple[float, ...] | float, width: float) -> None:
        """Draws a line through the points, `width` picture pixels wide."""
        thick = max(1, round(width * self.factor))
        cv2.polylines(canvas, [self._fixed(points)], False, _scalar(value), thick, cv2.LINE_8, self.SHIFT)

    def soften(self, canvas: Floats, pixels: float) -> Floats:
        return np.asarray(cv2.GaussianBlur(canvas, (0, 0), max(pixels * self.factor, 0.3)), dtype=np.float32)

    def small(self, canvas: Floats) -> Floats:
        """The canvas at the picture's size."""
        return np.asarray(cv2.resize(canvas, (self.width, self.height), interpolation=cv2.INTER_AREA), dtype=np.float32)

    def _fixed(self, points: Array) -> NDArray[np.int32]:
        return np.asarray(np.round(self.here(points) * (1 << self.SHIFT)), dtype=np.int32)


def _scalar(value: tuple[float, ...] | float) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
