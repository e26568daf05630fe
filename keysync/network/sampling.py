"""Sampling: the noise schedule, Euler's method, guidance by two conditions. Plain loops over plain callables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import KeySyncError

if TYPE_CHECKING:
    from .stage import Stage

Denoise = Callable[[Tensor, Tensor], Tensor]

# "Align Your Steps" (Sabour et al., 2024), the table for Stable Video Diffusion.
AYS = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)

# What the network is told in each of the predictions that guidance combines: speech, reference.
CONDITIONS = ((False, False), (False, True), (True, True))


def ays_sigmas(evaluations: int = len(AYS)) -> Tensor:
    """Noise levels of so many network evaluations, float64 (evaluations + 1,), the last one 0.

    11 is the whole table, as the method samples; 10 leaves out its last value, as ComfyUI's node does; more are
    interpolated log-linearly. Raises `KeySyncError` for fewer than 10.
    """
    if evaluations < len(AYS) - 1:
        raise KeySyncError(
            f"{evaluations} steps are too few: the schedule needs {len(AYS) - 1} or more, 11 is the method's"
        )
    sigmas = np.array(AYS[:evaluations])
    if evaluations > len(AYS):
        places, wanted = np.linspace(0, 1, len(AYS)), np.linspace(0, 1, evaluations)
        sigmas = np.exp(np.interp(wanted, places, np.log(AYS)))
    return torch.from_numpy(np.append(sigmas, 0.0))


def euler(
    denoise: Denoise, noise: Tensor, sigmas: Tensor, on_step: Callable[[int, Tensor], None] | None = None
) -> Tensor:
    """Integrates from noise of standard deviation 1 down the noise levels; `on_step(i, x)` follows each step."""
    x = noise * math.sqrt(1.0 + float(sigmas[0]) ** 2)
    for step, (sigma, next_sigma) in enumerate(zip(sigmas.tolist(), sigmas.tolist()[1:], strict=False)):
        now = torch.tensor(sigma, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        derivative = (x - denoise(x, now)) / now
        x = x + derivative * (next_sigma - now)
        if on_step is not None:
            on_step(step, x)
    return x


def combine(neither: Tensor, identity: Tensor, both: Tensor, audio_guidance: float, identity_guidance: float) -> Tensor:
    """Guidance by two conditions (paper eq. 8): from nothing to the identity, from there to the speech."""
    return audio_guidance * (both - identity) + identity_guidance * (identity - neither) + neither


def stand_ins(audio_guidance: float, identity_guidance: float) -> tuple[int, int, int]:
    """For each of `combine`'s three predictions the number of the one that may stand in for it, its own otherwise.

    A prediction that cancels out at these scales need not be made: that with nothing where the identity counts once,
    that with the identity where both scales are the same.
    """
    identity = 2 if audio_guidance == identity_guidance else 1
    return (identity if identity_guidance == 1 else 0), identity, 2


def branches(sigma: float, interval: tuple[float, float], audio_guidance: float, identity_guidance: float) -> int:
    """Network evaluations of one step: up to three inside the guidance interval, one outside it."""
    return len(set(stand_ins(audio_guidance, identity_guidance))) if _guided(sigma, interval) else 1


def guide(
    stage: Stage,
    features: Tensor,
    reference_latents: Tensor,
    known: Tensor,
    mask: Tensor,
    *,
    audio_guidance: float = 5.0,
    identity_guidance: float = 2.0,
    interval: tuple[float, float] = (0.0, math.inf),
) -> Denoise:
    """The guided denoiser of b windows; arguments as in `Stage.condition`.

    Between the noise levels of `interval` the network is evaluated for each prediction that does not cancel out,
    outside it once, fully conditioned.
    """
    conditions = [
        stage.condition(features, reference_latents, known, mask, audio=audio, reference=reference)
        for audio, reference in CONDITIONS
    ]
    made = stand_ins(audio_guidance, identity_guidance)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if not _guided(float(sigma), interval):
            denoised: Tensor = stage(x, sigma, conditions[-1])
            return denoised
        predicted = {number: stage(x, sigma, conditions[number]) for number in sorted(set(made))}
        neither, identity, both = (predicted[number] for number in made)
        return combine(neither, identity, both, audio_guidance, identity_guidance)

    return denoise


def _guided(sigma: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= sigma <= interval[1]
