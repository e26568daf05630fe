"""The transformer backbone of the editor: tokens are square patches of latents (FlashLips: about 300 M).

Its widths are not published; these are ours: those of a ViT-L, with patches of 2x2 latents.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...network.layers import sinusoids
from .networks import TransformerConfig
from .tokens import TokenBlock


class Transformer(nn.Module):
    """x (n, in_channels, h, w) -> (n, out_channels, h, w), of any size that whole patches fill.

    Patches know their places by sines, so that no weight depends on the size.
    """

    def __init__(self, config: TransformerConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.config = config
        channels, patch = config.channels, config.patch
        self.enter = nn.Conv2d(in_channels, channels, patch, stride=patch)
        self.blocks = nn.ModuleList(TokenBlock(channels, config.head_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(channels)
        self.leave = nn.ConvTranspose2d(channels, out_channels, patch, stride=patch)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        patches = self.enter(x)
        height, width = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2)  # n c h w -> n (h w) c
        tokens = tokens + _places(height, width, self.config.channels, tokens)
        for block in self.blocks:
            tokens = block(tokens)
        patches = self.norm(tokens).transpose(1, 2).unflatten(2, (height, width))
        out: Tensor = self.leave(patches)
        return out


def _places(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """The embeddings (h w, channels) of the patches' rows and columns, half of the channels each."""
    rows, columns = (sinusoids(torch.arange(side, device=like.device), channels // 2) for side in (height, width))
    both = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
    return torch.cat(both, -1).flatten(0, 1).to(like.dtype)
