"""A picture of lips vectors over time, true ones above others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CELL = 8  # pixels of a number


def rows_of(true: Tensor, others: Tensor) -> NDArray[np.uint8]:
    """Numbers (n, w) and others of the same shape as grey cells, a row for each number, scaled to the true ones:
    (2 w CELL, n CELL, 3)."""
    low, high = true.min(0).values, true.max(0).values
    both = torch.cat([(part - low) / (high - low).clamp_min(1e-6) for part in (true, others)], 1)
    grey = both.T.clamp(0, 1).mul(255).round().byte().cpu().numpy()
    picture: NDArray[np.uint8] = np.repeat(grey.repeat(CELL, 0).repeat(CELL, 1)[..., None], 3, -1)
    return picture
