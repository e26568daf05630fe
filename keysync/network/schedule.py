"""The noise schedule: "Align Your Steps" for Stable Video Diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..errors import KeySyncError

# "Align Your Steps" (Sabour et al., 2024), the table for Stable Video Diffusion.
AYS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def fall(levels: Sequence[float]) -> bool:
    """Whether these are one or more noise levels to step through: finite, positive, each below the one before."""
    return bool(levels) and all(math.isfinite(one) and one > other for one, other in pairwise((*levels, 0.0)))


def ays_sigmas(evaluations: int = len(AYS)) -> Tensor:
    """The noise levels for this many network evaluations: float64 (evaluations + 1,), ending in 0.

    11 evaluations use the whole table, as published; 10 omit its last value, as ComfyUI's node does; more are
    interpolated log-linearly. Raises `KeySyncError` for fewer than 10.
    """
    if evaluations < len(AYS) - 1:
        raise KeySyncError(
            f"{evaluations} steps are too few: expected at least {len(AYS) - 1}; the published number is {len(AYS)}",
            about="steps",
        )
    sigmas = np.array(AYS[:evaluations])
    if evaluations > len(AYS):
        known, positions = np.linspace(0, 1, len(AYS)), np.linspace(0, 1, evaluations)
        sigmas = np.exp(np.interp(positions, known, np.log(AYS)))
    return torch.from_numpy(np.append(sigmas, 0.0))
