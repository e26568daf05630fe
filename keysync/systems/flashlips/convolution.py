"""The residual block that FlashLips' convolutional networks share."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

# Most groups of a group norm; narrow layers have fewer, of at least `LEAST` channels.
GROUPS, LEAST = 32, 4


def norm(channels: int) -> nn.GroupNorm:
    """A group norm. It keeps no running statistics, so EMA, several GPUs and batches of one need no care."""
    return nn.GroupNorm(math.gcd(channels, min(GROUPS, max(1, channels // LEAST))), channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after a group norm and SiLU, added to their input: (n, c, h, w)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(channels), norm(out_channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = self.skip(x) + self.conv2(F.silu(self.norm2(hidden)))
        return out
