"""What lips do over time, as a value: numbers for each frame at a rate, which can be moved, held and smoothed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError

Values = NDArray[np.float32]
# How far a Gaussian reaches, in standard deviations.
WIDE = 3.0
AnyCurve = TypeVar("AnyCurve", bound="Curve")


@dataclass(frozen=True, eq=False)
class Curve:
    """`values` (frames, channels) float32, `fps` frames a second from time 0.

    Raises `KeySyncError` for numbers that are not finite and for a rate that is not positive.
    """

    # What messages call it, and what makes one.
    title: ClassVar[str] = "the curve"

    values: Values
    fps: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            bad = int(np.flatnonzero(~np.isfinite(self.values).all(1))[0])
            raise KeySyncError(f"{self.title} is not finite, first in frame {bad}: correct its values")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise KeySyncError(f"{self.title} has a frame rate of {self.fps}: expected a positive number, such as 25")

    @property
    def seconds(self) -> float:
        return len(self.values) / self.fps

    def at(self, times: NDArray[np.floating[Any]]) -> Values:
        """The values (n, channels) at `times` (n,) in seconds: interpolated linearly, the first and the last held
        beyond."""
        return self._at_frames(np.asarray(times, np.float64) * self.fps)

    def want_frames(self, count: int) -> None:
        """Raises `KeySyncError` where the curve ends before `count` frames of its rate do."""
        if len(self.values) < count:
            raise KeySyncError(
                f"{self.title} covers {len(self.values)} frames but there are {count}: make it from speech that is "
                "as long as the frames, at their rate",
                about="lips",
            )

    def smoothed(self: AnyCurve, frames: float) -> AnyCurve:
        """Averaged with its neighbours by a Gaussian with a standard deviation of so many frames."""
        if frames <= 0:
            return self
        reach = math.ceil(WIDE * frames)
        kernel = np.exp(-((np.arange(-reach, reach + 1) / frames) ** 2) / 2)
        padded = np.pad(self.values.astype(np.float64), ((reach, reach), (0, 0)), mode="edge")
        columns = [np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T]
        return replace(self, values=np.stack(columns, 1).astype(np.float32))

    def held(self: AnyCurve, first: int, count: int) -> AnyCurve:
        """Still for `count` frames from `first` on: all have its values. Raises `KeySyncError` beyond the end."""
        if count <= 0:
            return self
        if not 0 <= first <= first + count <= len(self.values):
            raise KeySyncError(
                f"frames {first} to {first + count - 1} are to be held but {self.title} has {len(self.values)} "
                "frames: choose frames inside it"
            )
        values = self.values.copy()
        values[first : first + count] = values[first]
        return replace(self, values=values)

    def shifted(self: AnyCurve, frames: float) -> AnyCurve:
        """Later by so many frames, earlier if negative; what is missing at an end is like the first or last frame."""
        return replace(self, values=self._at_frames(np.arange(len(self.values), dtype=np.float64) - frames))

    def _at_frames(self, places: NDArray[np.float64]) -> Values:
        # Rounded, so that times which fall on frames get those frames' own values.
        places = np.round(places, 6)
        frames = np.arange(len(self.values))
        columns = [np.interp(places, frames, column) for column in self.values.T.astype(np.float64)]
        return np.stack(columns, 1).astype(np.float32)
