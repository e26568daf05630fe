"""Euler's method: a plain loop over a plain callable."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Denoises latents at a noise level.
Denoise = Callable[[Tensor, Tensor], Tensor]


def euler(
    denoise: Denoise, noise: Tensor, sigmas: Tensor, on_step: Callable[[int, Tensor], None] | None = None
) -> Tensor:
    """Integrates from noise of standard deviation 1 down the noise levels; calls `on_step(i, x)` after each step."""
    x = noise * math.sqrt(1.0 + float(sigmas[0]) ** 2)
    for step, (sigma, next_sigma) in enumerate(zip(sigmas.tolist(), sigmas.tolist()[1:], strict=False)):
        now = torch.tensor(sigma, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        derivative = (x - denoise(x, now)) / now
        x = x + derivative * (next_sigma - now)
        if on_step is not None:
            on_step(step, x)
    return x
