"""The lag of a mouth behind its sound: where the correlation of both is highest, and how surely.

A mouth is one or more curves, each measured in every frame and paired with the curve that the sound gives. At each lag
the score is the mean correlation over these pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Seconds by which a mouth is looked for early or late, and of the windows that tell how sure the lag is.
REACH, WINDOW = 0.6, 0.5
# Fewer seconds with a face tell no lag, nor do fewer windows.
SHORTEST, FEWEST_WINDOWS = 1.0, 3
RESAMPLES = 500

Row = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lag:
    """`frames` that the mouth is late, negative if it is early; `confidence`, 0..1, that this is right within a frame;
    `lags` (k,) in frames and the `scores` (k,), -1..1, at each."""

    frames: int
    confidence: float
    lags: NDArray[np.int64]
    scores: Row

    def at(self, lag: int) -> float:
        """The score at one of `lags`."""
        return float(self.scores[int(np.flatnonzero(self.lags == lag)[0])])


def find_lag(mouths: Sequence[Row], heard: Sequence[Row], rate: float) -> Lag | None:
    """The lag of mouths behind what is heard, curves (n,) in pairs, at `rate` frames a second.

    NaN stands for frames in which the mouth is not seen, or nothing is known of the sound. The confidence is the share
    of resamples of the windows of `WINDOW` seconds whose best lag is at most one frame away. None where less than
    `SHORTEST` is seen, or no curve changes.
    """
    reach = max(1, round(REACH * rate))
    lags = np.arange(-reach, reach + 1)
    sums = np.stack([_sums(mouth, said, lags, rate) for mouth, said in zip(mouths, heard, strict=True)])
    whole = sums.sum(1)  # pairs windows lags 6 -> pairs lags 6
    if whole[..., 0].min() < SHORTEST * rate or sums.shape[1] < FEWEST_WINDOWS:
        return None
    scores = _correlations(whole).mean(0)
    if not scores.any():
        return None
    best = int(scores.argmax())
    rng = np.random.default_rng(0)
    windows = sums.shape[1]
    drawn = rng.multinomial(windows, np.full(windows, 1 / windows), RESAMPLES).astype(np.float64)
    again = np.einsum("rw,pwlk->rplk", drawn, sums)
    found = _correlations(again).mean(1).argmax(1)
    return Lag(int(lags[best]), float(np.mean(np.abs(found - best) <= 1)), lags, scores)


def _sums(mouth: Row, said: Row, lags: NDArray[np.int64], rate: float) -> Row:
    """Of each window and lag: the number of frames where both are known, and the sums of x, y, x x, y y and x y.

    (windows, lags, 6).
    """
    count = len(mouth)
    size = max(2, round(WINDOW * rate))
    starts = np.arange(0, count, size)
    table = np.zeros((len(starts), len(lags), 6))
    # Centred: sums of squares of values far from zero would lose digits.
    mouth, said = (row - np.nanmean(row) if np.isfinite(row).any() else row for row in (mouth, said))
    frames = np.arange(count)
    for column, lag in enumerate(lags.tolist()):
        there = (frames - lag >= 0) & (frames - lag < count)
        x = np.where(there, mouth, np.nan)
        y = np.where(there, said[np.clip(frames - lag, 0, count - 1)], np.nan)
        known = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(known, x, 0.0), np.where(known, y, 0.0)
        rows = np.stack([known.astype(np.float64), x, y, x * x, y * y, x * y], 1)
        table[:, column] = np.add.reduceat(rows, starts, axis=0)
    return table


def _correlations(sums: Row) -> Row:
    """Pearson's correlations of sums (..., 6), 0 where a curve is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)
    spread = np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0)
    found: Row = np.where(spread > 1e-12, (xy - x * y / n) / np.sqrt(np.maximum(spread, 1e-12)), 0.0)
    return found
