"""Draws a lips curve over the sound that it belongs to, for visual inspection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..plot import draw_curves
from .lips_curve import LIPS, LipsCurve

# Values at the upper and the lower edge of the plot.
EDGES = 1.5, -1.25


def draw_curve(
    curve: LipsCurve,
    size: tuple[int, int] = (480, 1280),
    sound: NDArray[np.float32] | None = None,
    rate: int = 1,
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) of `size` (h, w): the channels over seconds, in front of the waveform of `sound` (n,)."""
    return draw_curves(dict(zip(LIPS, curve.values.T, strict=True)), curve.fps, EDGES, size, sound, rate)
