"""Latents of frames whose mouth is hidden, which the editor starts from before its refinement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from keysync.systems.flashlips.editor import hidden

if TYPE_CHECKING:
    from keysync.vae.vae import VAE

    from .frames import Frames


class HiddenLatents:
    """Encodes hidden pictures, and keeps the latents of the first `kept` of them in memory in float16."""

    def __init__(self, vae: VAE, kept: int = 0) -> None:
        self._vae, self._most = vae, kept
        self._kept: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def __call__(self, frames: Frames) -> Tensor:
        """Scaled latents (n, 4, h, w), on the frames' device; those that are kept are float16's numbers."""
        keys = [tuple(key) for key in frames.key.tolist()]
        new = [number for number, key in enumerate(keys) if key not in self._kept]
        made: dict[tuple[int, ...], Tensor] = {}
        if new:
            pictures = hidden(frames.picture[new].permute(0, 2, 3, 1), frames.mask[new])  # n c h w -> n h w c
            encoded = self._vae.encode(pictures)
            made = {keys[number]: latent for number, latent in zip(new, encoded, strict=True)}
            for key, latent in made.items():
                if len(self._kept) < self._most:
                    self._kept[key] = latent.half().cpu()
        return torch.stack([made[key] if key in made else self._kept[key].to(frames.latent) for key in keys])
