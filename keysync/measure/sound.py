"""What a sound says of the mouth: the lips that it asks for, its level, and where it is silent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..method import SAMPLE_RATE
from ..speech.activity import DEPTH, LOUD, Pauses
from ..speech.features import ROW
from ..speech.lips_curve import LipsCurve

# Seconds after a pause begins and before it ends in which a mouth may still close, or open already.
SETTLED = 0.1
# Seconds of each value of the outline that pictures show.
OUTLINE = 0.01

Row = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound of so many `seconds`: its `lips`; its `level` (rows,) in dB, 50 rows a second; its `pauses`; and its
    `outline` (n,), the largest amplitude of each `OUTLINE` seconds. `notes` are for the user."""

    name: str
    seconds: float
    lips: LipsCurve
    level: Row
    pauses: Pauses
    outline: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether there is no speech in it at all."""
        return any(start <= 0 and stop >= self.seconds for start, stop in self.pauses)

    def lips_at(self, times: Row) -> Row:
        """The lips (n, 5) at `times` (n,) in seconds, NaN after the sound."""
        values = self.lips.at(times).astype(np.float64)
        values[times >= self.seconds] = np.nan
        return values

    def loudness_at(self, times: Row) -> Row:
        """The loudness (n,) in the middle of frames that begin at `times` (n,), from 0, silence, to 1; NaN after it."""
        if not len(self.level):
            return np.full(len(times), np.nan)
        top = float(np.percentile(self.level, LOUD))
        scaled = np.clip((self.level - top) / DEPTH + 1, 0, 1)
        rows = (np.arange(len(scaled)) + 0.5) * ROW / SAMPLE_RATE
        loudness: Row = np.interp(times + ROW / SAMPLE_RATE, rows, scaled, right=0.0)
        loudness[times >= self.seconds] = np.nan
        return loudness

    def silent_at(self, times: Row) -> NDArray[np.bool_]:
        """(n,): the times in seconds at which nothing is said and the mouth had time to close."""
        silent = np.zeros(len(times), np.bool_)
        for start, stop in [*self.pauses, (self.seconds, math.inf)]:
            start, stop = (start + SETTLED if start > 0 else 0.0), (stop - SETTLED if stop < self.seconds else math.inf)
            silent |= (times >= start) & (times < stop)
        return silent
