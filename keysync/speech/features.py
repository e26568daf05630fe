"""Speech features: 50 rows per second, two per frame at 25 frames per second (paper §3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..method import NETWORK_RATE, ROWS_PER_SECOND, SAMPLE_RATE

# Samples per frame, and per feature row.
FRAME = SAMPLE_RATE // NETWORK_RATE
ROW = SAMPLE_RATE // ROWS_PER_SECOND
# Frames whose rows are made at once: more would take several times the memory of the result.
PORTION = 1024


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """`rows` (r, c) float32 on the CPU, 50 per second from time 0; r is even."""

    rows: Tensor
    encoder: str

    @property
    def frames(self) -> Tensor:
        """The pair of rows of each frame at 25 frames per second: (r / 2, 2, c)."""
        return self.rows.reshape(-1, 2, self.rows.shape[1])

    def at(self, times: Tensor | NDArray[np.float64]) -> Tensor:
        """The pairs of rows (n, 2, c) for frames shown at `times` (n,) seconds: positions 50 t and 50 t + 1.

        Interpolates linearly between rows and repeats the first and last row beyond the ends.
        """
        last = len(self.rows) - 1
        # Rounded to 20 ns, so that frames at 25 frames per second get their own rows exactly.
        first = torch.round(torch.as_tensor(times, dtype=torch.float64) * ROWS_PER_SECOND, decimals=6)
        found = self.rows.new_empty(len(first), 2, self.rows.shape[1])
        for some, into in zip(first.split(PORTION), found.split(PORTION), strict=True):
            positions = torch.stack((some, some + 1), -1).clamp(0, last)
            before = positions.long()
            after = (before + 1).clamp_max(last)
            share = (positions - before)[..., None].to(self.rows.dtype)
            torch.lerp(self.rows[before], self.rows[after], share, out=into)
        return found
