"""The network that finds what covers a mouth in an unfolded face, by the person's usual look.

Inputs are (n, 13, ROWS, COLUMNS): the colours of the frame and the usual ones, both around the usual skin; their
difference in one light; how many spreads it is; where the usual look is known; and the place of the texel. Outputs are
logits (n, ROWS, COLUMNS). `python -m training.small.occlusion` trains it on rendered people.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ..assets import ASSETS
from ..weights.eight_bits import from_eight_bits
from .unfolded import COLUMNS, ROWS
from .usual import Region, Texture, Usual, relit

WEIGHTS = ASSETS / "occlusion.safetensors"
INPUTS = 13
# Levels that are 1 in the inputs; the most spreads, and how many are 1.
LEVELS, MOST_SPREADS, SPREADS = 64.0, 12.0, 4.0
# Rows and columns of the cheeks and the nose, whose median is the skin.
SKIN = slice(8, 44), slice(30, 90)
# Channels at the resolution of the grid, at half, at a quarter and at an eighth.
WIDTHS = (12, 20, 32, 44)


class OcclusionNetwork(nn.Module):
    """A U-Net of separable convolutions."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.first = nn.Conv2d(INPUTS, a, 3, padding=1)
        self.down1, self.down2, self.down3 = (nn.Conv2d(i, o, 3, 2, 1) for i, o in ((a, b), (b, c), (c, d)))
        self.deep = nn.ModuleList(_Separable(d, d, dilation) for dilation in (1, 2, 4))
        self.up3, self.up2, self.up1 = _Separable(d + c, c), _Separable(c + b, b), _Separable(b + a, a + 4)
        self.last = nn.Conv2d(a + 4, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        full = F.relu(self.first(x))
        half = F.relu(self.down1(full))
        quarter = F.relu(self.down2(half))
        eighth = F.relu(self.down3(quarter))
        for layer in self.deep:
            eighth = eighth + layer(eighth)
        quarter = self.up3(_joined(eighth, quarter))
        half = self.up2(_joined(quarter, half))
        logits: Tensor = self.last(self.up1(_joined(half, full)))
        return logits[:, 0]


class _Separable(nn.Sequential):
    def __init__(self, inner: int, outer: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, groups=inner),
            nn.Conv2d(inner, outer, 1),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, padding=dilation, dilation=dilation, groups=outer),
            nn.Conv2d(outer, outer, 1),
            nn.ReLU(),
        )


def _joined(coarse: Tensor, fine: Tensor) -> Tensor:
    larger = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([larger, fine], 1)


def network_inputs(texture: Texture, shown: Region, usual: Usual) -> NDArray[np.float32]:
    """What the network sees of an unfolded frame: (13, ROWS, COLUMNS)."""
    even, told = relit(texture, usual, shown)
    known = usual.known & shown & told
    skin = np.median((usual.colour if told else texture)[SKIN].reshape(-1, 3), axis=0).astype(np.float32)
    off = np.where(known[..., None], even - usual.colour, 0)
    spreads = np.minimum(np.abs(off).max(-1) / usual.spread, MOST_SPREADS)
    planes = [
        (even - skin) / LEVELS,
        np.where(known[..., None], usual.colour - skin, 0) / LEVELS,
        off / LEVELS,
        spreads[..., None] / SPREADS,
        known[..., None],
        _PLACES,
    ]
    return np.concatenate(planes, -1).astype(np.float32).transpose(2, 0, 1)  # h w c -> c h w


@cache
def occlusion_network(weights: Path = WEIGHTS) -> OcclusionNetwork:
    """The network with the built-in weights, loaded once."""
    network = OcclusionNetwork()
    tensors = from_eight_bits(weights, load_file(weights))
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval().requires_grad_(False)


_PLACES = np.stack(np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS)), -1)
