"""A lips curve as a value: measured, edited and drawn, and followed instead of speech.

Its channels and their units are those of `LIPS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError

# Channels of a curve. Opening, jaw and teeth are 0 where closed or hidden, and 1 as in a wide open vowel of ordinary
# speech, about the 95th percentile. Width and roundness are 0 at rest, and 1 and -1 likewise.
LIPS = ("opening", "width", "roundness", "jaw", "teeth")
# Those that have no negative values.
POSITIVE = [LIPS.index(name) for name in ("opening", "jaw", "teeth")]

Values = NDArray[np.float32]
# How far a Gaussian reaches, in standard deviations.
WIDE = 3.0
WIDTHS = [number for number in range(len(LIPS)) if number not in POSITIVE]


@dataclass(frozen=True, eq=False)
class LipsCurve:
    """`values` (frames, 5) float32 in the order of `LIPS`, `fps` frames a second from time 0.

    Raises `KeySyncError` for another shape, for numbers that are not finite and for a rate that is not positive.
    """

    values: Values
    fps: float

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 2 or shape[1] != len(LIPS) or not shape[0]:
            raise KeySyncError(
                f"the lips curve has shape {list(shape)}: expected one or more frames of {len(LIPS)} values "
                f"({', '.join(LIPS)})"
            )
        if not np.isfinite(self.values).all():
            bad = int(np.flatnonzero(~np.isfinite(self.values).all(1))[0])
            raise KeySyncError(f"the lips curve is not finite, first in frame {bad}: correct its values")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise KeySyncError(f"the lips curve has a frame rate of {self.fps}: expected a positive number, such as 25")

    @property
    def seconds(self) -> float:
        return len(self.values) / self.fps

    def at(self, times: NDArray[np.floating[Any]]) -> Values:
        """The values (n, 5) at `times` (n,) in seconds: interpolated linearly, the first and the last held beyond."""
        return self._at_frames(np.asarray(times, np.float64) * self.fps)

    def want_frames(self, count: int) -> None:
        """Raises `KeySyncError` where the curve ends before `count` frames of its rate do."""
        if len(self.values) < count:
            raise KeySyncError(
                f"the lips curve covers {len(self.values)} frames but there are {count}: make it from speech that is "
                "as long as the frames, at their rate",
                about="lips",
            )

    def strengthened(self, opening: float, width: float) -> LipsCurve:
        """Opening, jaw and teeth `opening` times as strong, width and roundness `width` times."""
        factors = np.ones(len(LIPS), np.float32)
        factors[POSITIVE], factors[WIDTHS] = opening, width
        return replace(self, values=self.values * factors)

    def closed_below(self, opening: float) -> LipsCurve:
        """Closed where the opening is below `opening`, unchanged from twice that on, and steady in between."""
        if opening <= 0:
            return self
        values = self.values.copy()
        values[:, POSITIVE] *= np.clip(values[:, LIPS.index("opening")] / opening - 1, 0, 1)[:, None]
        return replace(self, values=values)

    def smoothed(self, frames: float) -> LipsCurve:
        """Averaged with its neighbours by a Gaussian with a standard deviation of so many frames."""
        if frames <= 0:
            return self
        reach = math.ceil(WIDE * frames)
        kernel = np.exp(-((np.arange(-reach, reach + 1) / frames) ** 2) / 2)
        padded = np.pad(self.values.astype(np.float64), ((reach, reach), (0, 0)), mode="edge")
        columns = [np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T]
        return replace(self, values=np.stack(columns, 1).astype(np.float32))

    def held(self, first: int, count: int) -> LipsCurve:
        """Still for `count` frames from `first` on: all have its values. Raises `KeySyncError` beyond the end."""
        if count <= 0:
            return self
        if not 0 <= first <= first + count <= len(self.values):
            raise KeySyncError(
                f"frames {first} to {first + count - 1} are to be held but the lips curve has {len(self.values)} "
                "frames: choose frames inside it"
            )
        values = self.values.copy()
        values[first : first + count] = values[first]
        return replace(self, values=values)

    def shifted(self, frames: float) -> LipsCurve:
        """Later by so many frames, earlier if negative; what is missing at an end is like the first or last frame."""
        return replace(self, values=self._at_frames(np.arange(len(self.values), dtype=np.float64) - frames))

    def _at_frames(self, places: NDArray[np.float64]) -> Values:
        # Rounded, so that times which fall on frames get those frames' own values.
        places = np.round(places, 6)
        frames = np.arange(len(self.values))
        columns = [np.interp(places, frames, column) for column in self.values.T.astype(np.float64)]
        return np.stack(columns, 1).astype(np.float32)
