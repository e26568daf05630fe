"""What dubbing would be without the interpolation stage: each frame shows the nearest keyframe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keysync.network.stage import StageSpec, Windows
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import OnStep


@dataclass(frozen=True)
class HeldKeyframes:
    """A stand-in for the interpolation stage of this `spec`."""

    spec: StageSpec

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
        """The two keyframes (b, 2, 4, h, w) of each window, half of its frames (b, t, 4, h, w) each."""
        frames = windows.known.shape[1]
        second = (torch.arange(frames) >= frames / 2).long()
        return windows.reference[:, second].clone()
