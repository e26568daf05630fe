"""The convolutional backbone of the editor: a U-Net over latents, without time or noise (FlashLips: about 250 M).

Its widths are not published; these are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...network.layers import Attention
from .convolution import ResidualBlock, norm
from .networks import UNetConfig


class SelfAttention(nn.Module):
    """Self-attention of the cells of x (n, c, h, w)."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.attention = Attention(channels, channels, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # n c h w -> n (h w) c
        out: Tensor = x + self.attention(tokens).transpose(1, 2).unflatten(2, x.shape[2:])
        return out


class UNet(nn.Module):
    """x (n, in_channels, h, w) -> (n, out_channels, h, w)."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        channels = config.channels
        self.enter = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        now, skips = channels[0], [channels[0]]
        for level, wide in enumerate(channels):
            if level:
                self.shrink.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                skips.append(now)
            blocks = nn.ModuleList()
            for _ in range(config.blocks):
                blocks.append(_block(config, level, now, wide))
                now = wide
                skips.append(now)
            self.down.append(blocks)
        self.middle = nn.Sequential(
            ResidualBlock(now, now), SelfAttention(now, config.head_dim), ResidualBlock(now, now)
        )
        for level, wide in reversed(list(enumerate(channels))):
            blocks = nn.ModuleList()
            for _ in range(config.blocks + 1):
                blocks.append(_block(config, level, now + skips.pop(), wide))
                now = wide
            self.up.append(blocks)
            if level:
                self.grow.append(nn.Conv2d(now, now, 3, padding=1))
        self.leave = nn.Sequential(norm(now), nn.SiLU(), nn.Conv2d(now, out_channels, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.leave[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        skips = [x]
        for level, blocks in enumerate(self.down):
            if level:
                x = self.shrink[level - 1](x)
                skips.append(x)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x)
                skips.append(x)
        x = self.middle(x)
        for level, blocks in enumerate(self.up):
            if level:
                x = self.grow[level - 1](F.interpolate(x, scale_factor=2.0, mode="nearest"))
            for block in blocks:  # type: ignore[attr-defined]
                x = block(torch.cat((x, skips.pop()), dim=1))
        out: Tensor = self.leave(x)
        return out


def _block(config: UNetConfig, level: int, channels: int, out_channels: int) -> nn.Module:
    residual = ResidualBlock(channels, out_channels)
    attention = SelfAttention(out_channels, config.head_dim) if config.attends[level] else nn.Identity()
    return nn.Sequential(residual, attention)
