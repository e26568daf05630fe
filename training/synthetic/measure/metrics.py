"""Metrics of lip sync: agreement with the truth, leakage and jitter.

Each figure is computed over many clips, with the 95 % interval of a bootstrap over the clips. Curves have one value per
frame, 25 per second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keysync.correlation import Curve, correlation, slope
from keysync.errors import KeySyncError
from keysync.measure.leak import OPEN
from keysync.measure.steadiness import trembling

Array = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def within(self, low: float = -np.inf, high: float = np.inf) -> bool:
        """Whether the whole interval is between two bounds."""
        return low <= self.low and self.high <= high

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Sync:
    """How mouths follow the truth: correlation, slope (1: equal openings), lag in frames (positive: late)."""

    correlation: Estimate
    slope: Estimate
    lag: Estimate


def bootstrap(statistic: Callable[[NDArray[np.int64]], float], clips: int, seed: int = 0) -> Estimate:
    """A statistic of clips, given by their numbers (m,): its value for all clips, and its interval over resamples."""
    if clips < 1:
        raise KeySyncError("no clips to measure: expected at least one")
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, clips, clips)) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, (2.5, 97.5)).tolist()
    return Estimate(statistic(np.arange(clips)), low, high)


def mean_of(values: Sequence[float] | Curve, seed: int = 0) -> Estimate:
    """The mean over clips, one value each."""
    table = np.asarray(values, dtype=np.float64)
    return bootstrap(lambda drawn: float(table[drawn].mean()), len(table), seed)


def sync(read: Sequence[Curve], truth: Sequence[Curve], most: int = 5, seed: int = 0) -> Sync:
    """Compares the curves read from clips with the true ones; correlation and slope are means over the clips.

    The lag is the one of -most..most with the highest mean correlation. A clip whose mouth never moves has correlation
    0. Raises `KeySyncError` for curves of different lengths and for curves that are too short.
    """
    for number, (one, other) in enumerate(zip(read, truth, strict=True)):
        if len(one) != len(other) or len(one) <= 2 * most + 2:
            raise KeySyncError(
                f"clip {number} has {len(one)} frames read and {len(other)} true ones: expected equal numbers above "
                f"{2 * most + 2}"
            )
    moved = np.array([[_lagged(a, b, lag) for lag in range(-most, most + 1)] for a, b in zip(read, truth, strict=True)])
    return Sync(
        mean_of([correlation(a, b) for a, b in zip(read, truth, strict=True)], seed),
        mean_of([slope(a, b) for a, b in zip(read, truth, strict=True)], seed),
        bootstrap(lambda drawn: float(moved[drawn].mean(0).argmax() - most), len(moved), seed),
    )


def mouth_aspect_ratio(landmarks: Curve) -> Array:
    """The mean distance of the three inner pairs of lip points over that of the corners, of landmarks (..., 68, 2)."""
    points = np.asarray(landmarks, dtype=np.float64)
    gap = np.linalg.norm(points[..., [61, 62, 63], :] - points[..., [67, 66, 65], :], axis=-1).mean(-1)
    width = np.linalg.norm(points[..., 60, :] - points[..., 64, :], axis=-1)
    ratio: Array = gap / np.maximum(width, 1e-9)
    return ratio


def lip_leak(ratios: Sequence[Curve], seed: int = 0) -> Estimate:
    """The share of frames with a mouth aspect ratio above `OPEN`, over clips (n,) of silence."""
    above = np.array([np.sum(np.asarray(curve) > OPEN) for curve in ratios])
    frames = np.array([len(curve) for curve in ratios])
    return bootstrap(lambda drawn: float(above[drawn].sum() / frames[drawn].sum()), len(frames), seed)


def jitter(read: Sequence[Curve], real: Sequence[Curve], seed: int = 0) -> Estimate:
    """The jitter of curves over that of real ones: the ratio of their mean absolute second differences."""
    return _ratio([trembling(curve) for curve in read], [trembling(curve) for curve in real], seed)


def pixel_jitter(read: Sequence[Curve], real: Sequence[Curve], masks: Sequence[Curve], seed: int = 0) -> Estimate:
    """The same for pictures (n, h, w, 3) of clips, where the masks (n, h, w) are above 0.5."""
    return _ratio(
        [_flicker(clip, mask) for clip, mask in zip(read, masks, strict=True)],
        [_flicker(clip, mask) for clip, mask in zip(real, masks, strict=True)],
        seed,
    )


def _flicker(clip: Curve, mask: Curve) -> float:
    """The mean absolute second difference over time of the pixels inside the masks of all three frames."""
    inside = np.asarray(mask) > 0.5
    common = inside[:-2] & inside[1:-1] & inside[2:]
    bend = np.abs(np.diff(np.asarray(clip, dtype=np.float64), 2, axis=0)).mean(-1)
    return float(bend[common].mean()) if common.any() else 0.0


def _ratio(read: list[float], real: list[float], seed: int) -> Estimate:
    above, below = np.array(read), np.array(real)

    def statistic(drawn: NDArray[np.int64]) -> float:
        return float(above[drawn].sum() / max(below[drawn].sum(), 1e-12))

    return bootstrap(statistic, len(above), seed)


def _lagged(read: Curve, truth: Curve, lag: int) -> float:
    """The correlation of the curve read with the truth `lag` frames before."""
    late = np.asarray(read)[max(lag, 0) : len(read) + min(lag, 0)]
    early = np.asarray(truth)[max(-lag, 0) : len(truth) + min(-lag, 0)]
    return correlation(late, early)
