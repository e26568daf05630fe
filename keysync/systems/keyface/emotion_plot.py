"""Draws a curve of valence and arousal over the sound that it belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...plot import draw_curves
from .emotion import CONTROLS, Values

# Values at the upper and the lower edge of the plot.
EDGES = 1.2, -1.2


def draw_emotion(
    values: Values,
    fps: float,
    size: tuple[int, int],
    sound: NDArray[np.float32] | None = None,
    rate: int = 1,
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) of `size` (h, w): `values` (n, 2), `fps` a second, in front of the waveform of `sound`."""
    return draw_curves(dict(zip(CONTROLS, values.T, strict=True)), fps, EDGES, size, sound, rate)
