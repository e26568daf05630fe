"""A ResNet of basic blocks (He et al., 2016) with group norm: the picture of a face to some numbers.

With blocks (3, 4, 6, 3) of (64, 128, 256, 512) channels it is a ResNet-34.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import norm
from .networks import ResNetConfig


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to their input: (n, c, h, w) -> (n, c', h / stride, w / stride)."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm1, self.norm2 = norm(out_channels), norm(out_channels)
        same = channels == out_channels and stride == 1
        short = (nn.Conv2d(channels, out_channels, 1, stride, bias=False), norm(out_channels))
        self.skip = nn.Identity() if same else nn.Sequential(*short)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.skip(x) + self.norm2(self.conv2(hidden)))


class ResNet(nn.Module):
    """Pictures (n, 3, h, w), 0..1, of any size -> numbers (n, outputs); they are resized to the network's side."""

    def __init__(self, config: ResNetConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        now = config.channels[0]
        self.enter = nn.Sequential(
            nn.Conv2d(3, now, 7, stride=2, padding=3, bias=False), norm(now), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)
        )
        levels = []
        for level, (wide, count) in enumerate(zip(config.channels, config.blocks, strict=True)):
            for number in range(count):
                levels.append(BasicBlock(now, wide, stride=2 if level and not number else 1))
                now = wide
        self.levels = nn.Sequential(*levels)
        self.leave = nn.Linear(now, outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        seen = scaled(pictures, self.config.side)
        out: Tensor = self.leave(self.levels(self.enter(seen)).mean((2, 3)))
        return out


def scaled(pictures: Tensor, side: int) -> Tensor:
    """Pictures (n, 3, h, w), 0..1, as squares of -1..1."""
    if pictures.shape[2:] != (side, side):
        pictures = F.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    return pictures * 2 - 1
