"""Small stages of random weights and inputs for them; no size is a published one, and no two sizes are equal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from keysync.method import LATENT_CHANNELS
from keysync.network.stage import Stage, StageSpec, Windows
from keysync.network.unet import UNetConfig

FRAMES = 5
SIZE = (4, 8)
AUDIO_CHANNELS = 12


def small_unet(in_channels: int = 8, **changes: Any) -> UNetConfig:
    """64 channels: with 32, group norm over 32 groups would erase the embedding of time and speech."""
    small = {"model_channels": 64, "channel_mult": (1,), "attention": (True,), "num_res_blocks": 1}
    return UNetConfig(in_channels, **{**small, "head_dim": 16, "context_dim": 20, **changes})


def small_stage(name: str, **changes: Any) -> Stage:
    torch.manual_seed(0)
    unet = small_unet(8 if name == "keyframe" else 9, **changes)
    stage = Stage(StageSpec(name, unet, AUDIO_CHANNELS, SIZE, FRAMES, "wavlm")).eval()
    if stage.learned_mask is not None:
        torch.nn.init.normal_(stage.learned_mask)
    return stage


@dataclass(frozen=True)
class Inputs:
    """Windows and the noise they are sampled from."""

    windows: Windows
    noise: Tensor

    @property
    def parts(self) -> tuple[Tensor, ...]:
        held = (part for part in vars(self.windows).values() if part is not None)
        return *held, self.noise

    def window(self, number: int) -> Inputs:
        kept = slice(number, number + 1)
        return Inputs(self.windows[kept], self.noise[kept])

    def changed(self, **changes: Tensor) -> Inputs:
        return replace(self, windows=replace(self.windows, **changes))


def inputs(name: str, windows: int = 2, seed: int = 1) -> Inputs:
    """Random windows for `small_stage(name)`; the mask keeps the upper rows."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    latents = (windows, FRAMES, LATENT_CHANNELS, *SIZE)
    reference = (windows, LATENT_CHANNELS, *SIZE) if name == "keyframe" else (windows, 2, LATENT_CHANNELS, *SIZE)
    mask = torch.ones(windows, FRAMES, 1, *SIZE)
    mask[..., : SIZE[0] // 2, :] = 0.0
    features = random(windows, FRAMES, 2, AUDIO_CHANNELS)
    return Inputs(Windows(features, random(*reference), random(*latents), mask), random(*latents))
