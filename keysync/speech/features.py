"""Speech features: 50 rows a second, two for each frame of 25 frames a second (paper §3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..method import NETWORK_RATE, ROWS_PER_SECOND, SAMPLE_RATE

# Samples of a frame, and from one feature row to the next.
FRAME = SAMPLE_RATE // NETWORK_RATE
ROW = SAMPLE_RATE // ROWS_PER_SECOND


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """`rows` (r, c) float32 on the CPU, 50 a second from time 0; r is even."""

    rows: Tensor
    encoder: str

    @property
    def frames(self) -> Tensor:
        """The pair of rows of each frame of 25 frames a second: (r / 2, 2, c)."""
        return self.rows.reshape(-1, 2, self.rows.shape[1])

    def at(self, times: Tensor | NDArray[np.float64]) -> Tensor:
        """The pairs of rows (n, 2, c) of frames shown at `times` (n,) seconds: positions 50 t and 50 t + 1.

        Linear between rows; before the first row the first, after the last the last.
        """
        last = len(self.rows) - 1
        # Rounded to 20 ns: a frame's own time meets its own rows exactly.
        first = torch.round(torch.as_tensor(times, dtype=torch.float64) * ROWS_PER_SECOND, decimals=6)
        positions = torch.stack((first, first + 1), -1).clamp(0, last)
        before = positions.long()
        after = (before + 1).clamp_max(last)
        return torch.lerp(self.rows[before], self.rows[after], (positions - before)[..., None].to(self.rows.dtype))
