"""What dubbing would be without the interpolation stage: each frame shows the nearest keyframe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from keysync.network.stage import StageSpec
from keysync.systems.keysync.generate import Sampling


@dataclass(frozen=True)
class HeldKeyframes:
    """A stand-in for the interpolation stage of this `spec`."""

    spec: StageSpec

    def sample(
        self,
        features: Tensor,
        reference_latents: Tensor,
        known: Tensor,
        mask: Tensor,
        noise: Tensor,
        sampling: Sampling,
        on_step: Callable[[int], None] | None,
    ) -> Tensor:
        """The two keyframes (b, 2, 4, h, w) of each window, half of its frames (b, t, 4, h, w) each."""
        second = (torch.arange(known.shape[1]) >= known.shape[1] / 2).long()
        return reference_latents[:, second].clone()
