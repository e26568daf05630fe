"""The VAE's residual blocks for clips of one frame: what changes nothing there and takes long on a CPU is left out.

A convolution over time pads the one frame on both sides, so the middle of its kernel alone counts. The blend of a
block's spatial and temporal parts is the spatial one with a share of what the temporal one adds to it, which is a
factor of its last layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two convolutions, each of what a group norm and SiLU make of its input, added to the block's: (n, c, h, w)."""

    def __init__(self, block: Any, convolution: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.conv1, self.conv2 = convolution(block.conv1), convolution(block.conv2)
        shortcut = block.conv_shortcut
        self.shortcut = nn.Identity() if shortcut is None else convolution(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv2(_activated(self.norm2(self.conv1(_activated(self.norm1(x))))))
        added: Tensor = self.shortcut(x) + hidden
        return added


class Block(nn.ModuleList):
    """The parts of a block in a row; takes what diffusers gives all of its blocks."""

    def forward(self, x: Tensor, temb: Tensor | None = None, image_only_indicator: Any = None) -> Tensor:
        for part in self:
            x = part(x)
        return x


class LastOverTime(nn.Module):
    """A convolution over the frames of a clip, (n, c, 1, h, w), for clips of one."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.middle = middle_of(convolution)

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2] != 1:
            raise ValueError(f"the clip has {input.shape[2]} frames: expected 1")
        output: Tensor = self.middle(input[:, :, 0])[:, :, None]
        return output


def middle_of(convolution: nn.Module) -> nn.Conv2d:
    """The 2-d convolution that one over time is for a clip of one frame."""
    assert isinstance(convolution, nn.Conv3d)
    time, *kernel = convolution.kernel_size
    channels = convolution.in_channels, convolution.out_channels
    flat = nn.Conv2d(*channels, tuple(kernel), padding=convolution.padding[1:], device="meta")  # type: ignore[arg-type]
    middle = {"weight": convolution.weight.detach()[:, :, time // 2].clone(), "bias": convolution.bias}
    flat.load_state_dict(middle, assign=True)
    return flat


def for_one_frame(network: nn.Module) -> None:
    """Replaces the residual blocks and the convolutions over time of diffusers' encoder or decoder."""
    for module in list(network.modules()):
        for name, block in list(module.named_children()):
            if hasattr(block, "temporal_res_block"):
                setattr(module, name, _both(block))
            elif hasattr(block, "conv_shortcut"):
                setattr(module, name, Block([_spatial(block)]))
            elif isinstance(block, nn.Conv3d):
                setattr(module, name, LastOverTime(block))


def _both(block: Any) -> Block:
    """The spatial part of a block, and the temporal one if it adds something."""
    spatial = _spatial(block.spatial_res_block)
    if not any(part.any() for part in block.temporal_res_block.conv2.parameters()):
        return Block([spatial])
    temporal = Residual(block.temporal_res_block, middle_of)
    with torch.no_grad():
        for part in temporal.conv2.parameters():
            part.mul_(_share_of_time(block.time_mixer))
    return Block([spatial, temporal])


def _spatial(block: nn.Module) -> Residual:
    return Residual(block, lambda convolution: convolution)


def _share_of_time(mixer: nn.Module) -> float:
    """How much of what the temporal part of a block adds is left when it is blended with the spatial one."""
    nothing = torch.zeros(1, 1, 1, 1, 1)
    share: Tensor = mixer(x_spatial=nothing, x_temporal=nothing + 1, image_only_indicator=nothing[0, 0, 0])
    return float(share)


def _activated(x: Tensor) -> Tensor:
    """SiLU of a tensor that nothing else needs."""
    return F.silu(x, inplace=not torch.is_grad_enabled())
