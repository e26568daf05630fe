"""The two stages at work: keyframes from speech and identity, then the frames between two keyframes (paper §3.3).

Tensors are batches of windows, (b, t, ...); windows do not see each other, so any grouping gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...network.euler import euler
from ...network.guidance import branches, guide
from ...network.schedule import ays_sigmas
from ...network.stage import ENDS, IDENTITY, STAGES, Stage, StageSpec


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled. `group` windows share one network call: more is faster and takes more memory.

    A guidance scale that is None is the one that each stage is best sampled with.
    """

    evaluations: int = 11
    audio_guidance: float | None = None
    identity_guidance: float | None = None
    guidance_interval: tuple[float, float] = (0.0, math.inf)
    group: int = 1

    def __post_init__(self) -> None:
        ays_sigmas(self.evaluations)  # refuses too few steps here, before any work

    def guidance(self, spec: StageSpec) -> tuple[float, float]:
        """The scales of audio and identity guidance of a stage."""
        return (
            spec.audio_guidance if self.audio_guidance is None else self.audio_guidance,
            spec.identity_guidance if self.identity_guidance is None else self.identity_guidance,
        )

    def branches(self, sigma: float, spec: StageSpec) -> int:
        """How often the network of a stage is evaluated for one window at a noise level."""
        return branches(sigma, self.guidance_interval, *self.guidance(spec))

    def network_evaluations(self, spec: StageSpec) -> int:
        """How often the network of a stage is evaluated for one window."""
        return sum(self.branches(sigma, spec) for sigma in ays_sigmas(self.evaluations)[:-1].tolist())


class HostStage(Protocol):
    """A stage that a host program runs, its memory managed there: it samples windows by itself, as `_sample` does."""

    @property
    def spec(self) -> StageSpec: ...

    def sample(
        self,
        features: Tensor,
        reference_latents: Tensor,
        known: Tensor,
        mask: Tensor,
        noise: Tensor,
        sampling: Sampling,
        on_step: Callable[[int], None] | None,
    ) -> Tensor: ...


def sample_keyframes(
    stage: Stage | HostStage,
    features: Tensor,
    identity: Tensor,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
    sampling: Sampling,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Batches of keyframes: latents (b, t, 4, h, w) from features (b, t, 2, c), the identity's latents (4, h, w), clean
    latents `known` and noise (b, t, 4, h, w), and masks (b, t, 1, h, w).

    `on_step(n)` follows each step, in which the network was evaluated for n windows and guidance branches.
    """
    _check_stage(stage, IDENTITY)
    return _sample(stage, features, identity.expand(len(known), -1, -1, -1), known, mask, noise, sampling, on_step)


def interpolate(
    stage: Stage | HostStage,
    features: Tensor,
    keyframes: Tensor,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
    sampling: Sampling,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Windows between keyframes (b, 2, 4, h, w): latents (b, t, 4, h, w) that begin and end with the keyframes."""
    _check_stage(stage, ENDS)
    latents = _sample(stage, features, keyframes, known, mask, noise, sampling, on_step)
    latents[:, [0, -1]] = keyframes.to(latents)
    return latents


def _check_stage(stage: Stage | HostStage, reference: str) -> None:
    if stage.spec.reference != reference:
        needed = next(name for name, spec in STAGES.items() if spec.reference == reference)
        raise KeySyncError(
            f"a model of the {stage.spec.name} stage was given where the {needed} model is needed: swap them"
        )


@torch.no_grad()
def _sample(
    stage: Stage | HostStage,
    features: Tensor,
    reference_latents: Tensor,
    known: Tensor,
    mask: Tensor,
    noise: Tensor,
    sampling: Sampling,
    on_step: Callable[[int], None] | None,
) -> Tensor:
    if not isinstance(stage, Stage):
        return stage.sample(features, reference_latents, known, mask, noise, sampling, on_step)
    sigmas = ays_sigmas(sampling.evaluations)
    groups = zip(
        *(part.split(sampling.group) for part in (features, reference_latents, known, mask, noise)),
        strict=True,
    )
    audio_guidance, identity_guidance = sampling.guidance(stage.spec)
    done = []
    for features_, references, known_, mask_, noise_ in groups:
        denoise = guide(
            stage,
            features_,
            references,
            known_,
            mask_,
            audio_guidance=audio_guidance,
            identity_guidance=identity_guidance,
            interval=sampling.guidance_interval,
        )
        counts = [len(noise_) * sampling.branches(sigma, stage.spec) for sigma in sigmas[:-1].tolist()]
        tell = _teller(on_step, counts) if on_step else None
        done.append(euler(denoise, noise_.to(stage.device), sigmas, tell))
    return torch.cat(done)


def _teller(on_step: Callable[[int], None], counts: list[int]) -> Callable[[int, Tensor], None]:
    def tell(step: int, _: Tensor) -> None:
        on_step(counts[step])

    return tell
