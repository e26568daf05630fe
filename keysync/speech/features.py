"""Speech features: 50 rows per second, two per frame at 25 frames per second (paper §3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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

# Seconds (n,).
Times = Tensor | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """`rows` (r, c) float32 on the CPU, 50 per second from time 0; r is even."""

    rows: Tensor
    encoder: str

    @property
    def frames(self) -> Tensor:
        """The pair of rows of each frame at 25 frames per second: (r / 2, 2, c)."""
        return self.rows.reshape(-1, 2, self.rows.shape[1])

    def at(self, times: Times) -> Tensor:
        """The pairs of rows (n, 2, c) for frames shown at `times` (n,) seconds, see `rows_at`."""
        return rows_at(self.rows, times)


class Rows(Protocol):
    """Rows (r, c): a tensor, or read from a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: Any, /) -> Tensor: ...


def rows_at(rows: Rows, times: Times) -> Tensor:
    """The pairs of rows (n, 2, c) for frames shown at `times` (n,) seconds: positions 50 t and 50 t + 1.

    Interpolates linearly between rows and repeats the first and last row beyond the ends.
    """
    last = len(rows) - 1
    # Rounded to 20 ns, so that frames at 25 frames per second get their own rows exactly.
    first = torch.round(torch.as_tensor(times, dtype=torch.float64) * ROWS_PER_SECOND, decimals=6)
    found = rows[:1].new_empty(len(first), 2, rows[:1].shape[1])
    for some, into in zip(first.split(PORTION), found.split(PORTION), strict=True):
        positions = torch.stack((some, some + 1), -1).clamp(0, last)
        before = positions.long()
        after = (before + 1).clamp_max(last)
        share = (positions - before)[..., None].to(found.dtype)
        torch.lerp(rows[before], rows[after], share, out=into)
    return found
