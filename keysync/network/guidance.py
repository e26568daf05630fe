"""Guidance by two conditions: the speech and the reference (paper eq. 8)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from .euler import Denoise

if TYPE_CHECKING:
    from .stage import Stage

# What the network is told in each of the predictions that guidance combines: speech, reference.
CONDITIONS = ((False, False), (False, True), (True, True))


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
