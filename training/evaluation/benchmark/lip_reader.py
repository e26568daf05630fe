"""The encoder of Auto-AVSR's lip reader: mouths (n, 1, 88, 88) to rows (n, 768), one for each frame at 25 a second.

A convolution over space and time, a ResNet-18 of each frame, and a Conformer over all of them. The names of its weights
are those of both published layouts, see `own_names`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channels of the ResNet's stages.
STAGES = (64, 128, 256, 512)
EPSILON = 1e-12
# From names in the layouts of KeySync's evaluation and of Auto-AVSR to those here; other tensors are the decoder's.
NAMES = (
    (r"^(encoder\.)?frontend\.", "frontend."),
    (r"^(encoder\.(embed|input_layer)\.0|proj_encoder)\.", "proj."),
    (r"^encoder\.encoders\.", "encoders."),
    (r"^encoder\.(after_)?norm\.", "after_norm."),
)


@dataclass(frozen=True)
class Shape:
    """The widths of the Conformer: those of the published files."""

    width: int = 768
    heads: int = 12
    hidden: int = 3072
    layers: int = 12
    kernel: int = 31


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file under the names that they have here."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, own in NAMES:
            renamed, count = re.subn(pattern, own, name)
            if count:
                found[renamed] = tensor
                break
    return found


class LipReader(nn.Module):
    """The encoder."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        self.frontend = Frontend()
        self.proj = nn.Linear(STAGES[-1], shape.width)
        self.encoders = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.after_norm = nn.LayerNorm(shape.width, EPSILON)

    def forward(self, mouths: Tensor) -> Tensor:
        """The rows of a video's mouths (n, 1, 88, 88), normalised."""
        x = self.proj(self.frontend(mouths)) * math.sqrt(self.proj.out_features)
        places = positions(len(x), self.proj.out_features).to(x)
        for layer in self.encoders:
            x = layer(x, places)
        found: Tensor = self.after_norm(x)
        return found


class Frontend(nn.Module):
    """Mouths (n, 1, 88, 88) to rows (n, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, STAGES[0], (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(STAGES[0]),
            nn.SiLU(),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.trunk = nn.ModuleDict(
            {
                f"layer{number + 1}": nn.Sequential(
                    Block(STAGES[max(0, number - 1)], width, 2 if number else 1), Block(width, width)
                )
                for number, width in enumerate(STAGES)
            }
        )

    def forward(self, mouths: Tensor) -> Tensor:
        x = self.frontend3D(mouths.transpose(0, 1)[None])[0].transpose(0, 1)  # n c h w -> 1 c n h w -> n c h w
        for stage in self.trunk.values():
            x = stage(x)
        found: Tensor = x.mean((2, 3))
        return found


class Block(nn.Module):
    """Two convolutions beside a residual."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.silu(self.bn1(self.conv1(x)))))
        return F.silu(y + self.downsample(x))


class Layer(nn.Module):
    """A layer of the Conformer (Gulati et al., 2020): half a feed-forward, attention, convolution, the other half."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.feed_forward_macaron, self.feed_forward = FeedForward(shape), FeedForward(shape)
        self.self_attn = Attention(shape)
        self.conv_module = Convolution(shape)
        self.norm_ff_macaron, self.norm_mha, self.norm_conv, self.norm_ff, self.norm_final = (
            nn.LayerNorm(shape.width, EPSILON) for _ in range(5)
        )

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward_macaron(self.norm_ff_macaron(x))
        x = x + self.self_attn(self.norm_mha(x), places)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + 0.5 * self.feed_forward(self.norm_ff(x))
        found: Tensor = self.norm_final(x)
        return found


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(shape.width, shape.hidden), nn.Linear(shape.hidden, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.w_2(F.relu(self.w_1(x)))
        return found


class Attention(nn.Module):
    """Attention with relative positions (Dai et al., 2019, section 3.3)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(shape.width, shape.width) for _ in range(4)
        )
        self.linear_pos = nn.Linear(shape.width, shape.width, bias=False)
        self.pos_bias_u, self.pos_bias_v = (
            nn.Parameter(torch.zeros(shape.heads, shape.width // shape.heads)) for _ in range(2)
        )

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        q, k, v, p = (
            layer(rows).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # n (h c) -> h n c
            for layer, rows in (
                (self.linear_q, x),
                (self.linear_k, x),
                (self.linear_v, x),
                (self.linear_pos, places),
            )
        )
        by_content = (q + self.pos_bias_u[:, None]) @ k.transpose(1, 2)
        by_place = (q + self.pos_bias_v[:, None]) @ p.transpose(1, 2)  # of each query, by the 2 n - 1 distances
        numbers = torch.arange(len(x), device=x.device)
        apart = (len(x) - 1 - numbers[:, None] + numbers).expand(self.heads, -1, -1)
        scores = (by_content + by_place.gather(2, apart)) / math.sqrt(q.shape[-1])
        found: Tensor = self.linear_out((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        return found


class Convolution(nn.Module):
    """A gated convolution over time."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.pointwise_cov1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, shape.kernel, padding=shape.kernel // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_cov2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.pointwise_cov1(x.T[None]), 1)  # n c -> 1 c n
        found: Tensor = self.pointwise_cov2(F.silu(self.norm(self.depthwise_conv(y))))[0].T
        return found


def positions(count: int, width: int) -> Tensor:
    """Sines and cosines (2 count - 1, width) of the distances count - 1 down to 1 - count."""
    apart = torch.arange(count - 1, -count, -1, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(10000.0) / width))
    return torch.stack([torch.sin(apart * rates), torch.cos(apart * rates)], -1).flatten(1)
