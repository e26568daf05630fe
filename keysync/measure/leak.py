"""LipLeak: how often a mouth is open in silence (paper §4.2 and appendix C).

A mouth is open where its aspect ratio, the gap between the inner lips over their width, is above 0.25. By the paper,
the figure is the share of such frames where a video of someone talking is dubbed with silence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..correlation import Curve

# A mouth with a larger aspect ratio is open.
OPEN = 0.25
# The thresholds of a curve: from any gap to a mouth that is as high as wide.
THRESHOLDS: tuple[float, ...] = tuple(number / 50 for number in range(51))


def lipleak(ratios: Curve, threshold: float = OPEN) -> float | None:
    """The share, 0..1, of frames of silence with these aspect ratios (n,) in which the mouth is open.

    NaN stands for a mouth that is not seen; None where none is.
    """
    seen = _seen(ratios)
    return float(np.mean(seen > threshold)) if len(seen) else None


def threshold_curve(ratios: Curve) -> list[float]:
    """The same at each of `THRESHOLDS`, where it can only fall; empty where no mouth is seen."""
    seen = _seen(ratios)
    return [float(np.mean(seen > threshold)) for threshold in THRESHOLDS] if len(seen) else []


def _seen(ratios: Curve) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.asarray(ratios, np.float64)
    return values[np.isfinite(values)]
