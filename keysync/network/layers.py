"""The layers of the U-Net: residual blocks and transformers, each over space, then over time (paper §3.3).

Attribute names are the published ones.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu import Linear, attend, gated

# CUDA's attention kernels take at most 2**16 - 1 batch rows; ComfyUI splits at half of that too.
ATTENTION_ROWS = 2**15


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or unchanged in float64, for computations that need more than half precision."""
    return x if x.dtype == torch.float64 else x.float()


def sinusoids(positions: Tensor, channels: int) -> Tensor:
    """Cosines and sines (n, channels) of positions (n,) at geometrically decreasing frequencies, at least float32."""
    positions, half = at_least_float32(positions), channels // 2
    frequencies = torch.exp(
        -math.log(10000.0) * torch.arange(half, dtype=positions.dtype, device=positions.device) / half
    )
    angles = positions[:, None] * frequencies
    return F.pad(torch.cat((angles.cos(), angles.sin()), dim=-1), (0, channels % 2))


class GroupNorm(nn.GroupNorm):
    """Group norm computed in at least float32."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = at_least_float32(self.weight), at_least_float32(self.bias)
        return F.group_norm(at_least_float32(x), self.num_groups, weight, bias, self.eps).to(x.dtype)


class SideInputs(NamedTuple):
    """The inputs of every layer besides the frames (b*t, c, h, w).

    The embedding of time and speech (b*t, e), the audio tokens (b, t, context_dim), None where all are 0, and a mark
    (b, t) for frames that do not belong to a clip: Stable Video Diffusion's `image_only_indicator`.
    """

    embedding: Tensor
    context: Tensor | None
    single: Tensor


class Mixer(nn.Module):
    """Blends the outputs of a spatial and a temporal layer with a learned weight."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.tensor([0.5]))

    def forward(self, spatial: Tensor, temporal: Tensor, single: Tensor) -> Tensor:
        """Frames marked in `single` (b, t) take only the spatial part; the other inputs are (b, t, ...)."""
        marked = single.bool().reshape(*single.shape, *[1] * (spatial.ndim - 2))
        alpha = torch.where(marked, 1.0, self.mix_factor.sigmoid().to(spatial.dtype))
        return torch.lerp(temporal.to(spatial.dtype), spatial, alpha.to(spatial.dtype))


class TimeConv(nn.Conv3d):
    """A convolution over time, kernel 3x1x1, computed as a 2-d convolution, which takes a CPU half the time."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, input: Tensor) -> Tensor:
        """(b, c, t, h, w)"""
        places: Tensor = F.conv2d(input.flatten(3), self.weight.squeeze(-1), self.bias, padding=(1, 0))
        out: Tensor = places.unflatten(3, input.shape[3:])
        return out


class Residual(nn.Module):
    """A residual block over space (2-d) or time (3-d, kernel 3x1x1) to which each frame's embedding is added."""

    def __init__(self, channels: int, out_channels: int, embedding: int, over_time: bool) -> None:
        super().__init__()
        conv = TimeConv if over_time else partial(nn.Conv2d, kernel_size=3, padding=1)
        self.in_layers = nn.Sequential(GroupNorm(32, channels), nn.SiLU(), conv(channels, out_channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), Linear(embedding, out_channels))
        out = conv(out_channels, out_channels)
        self.out_layers = nn.Sequential(GroupNorm(32, out_channels), nn.SiLU(), nn.Identity(), out)
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def residual(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (n, c, h, w) with embedding (n, e), or x (b, c, t, h, w) with embedding (b, t, e)."""
        emb = self.emb_layers(embedding)
        emb = emb[:, :, None, None] if x.ndim == 4 else emb.transpose(1, 2)[..., None, None]  # b t c -> b c t 1 1
        out: Tensor = self.skip_connection(x) + self.out_layers(self.in_layers(x) + emb)
        return out


class TimeResBlock(Residual):
    """A residual block over time."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__(channels, channels, embedding, over_time=True)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (b, c, t, h, w), embedding (b, t, e)"""
        return self.residual(x, embedding)


class VideoResBlock(Residual):
    """A residual block over space, then one over time, blended."""

    def __init__(self, channels: int, out_channels: int, embedding: int) -> None:
        super().__init__(channels, out_channels, embedding, over_time=False)
        self.time_stack = TimeResBlock(out_channels, embedding)
        self.time_mixer = Mixer()

    def forward(self, x: Tensor, side: SideInputs) -> Tensor:
        """x (b*t, c, h, w)"""
        windows = side.single.shape
        spatial = self.residual(x, side.embedding).unflatten(0, windows)  # (b t) c h w -> b t c h w
        temporal = self.time_stack(spatial.transpose(1, 2), side.embedding.unflatten(0, windows)).transpose(1, 2)
        mixed: Tensor = self.time_mixer(spatial, temporal, side.single)
        return mixed.flatten(0, 1)


class Attention(nn.Module):
    """Multi-head attention of x (n, tokens, c) to itself or to a context (n, tokens', context_dim)."""

    def __init__(self, channels: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.to_q = Linear(channels, channels, bias=False)
        self.to_k = Linear(context_dim, channels, bias=False)
        self.to_v = Linear(context_dim, channels, bias=False)
        self.to_out = nn.Sequential(Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # n s (heads d) -> n heads s d
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        parts = zip(q.split(ATTENTION_ROWS), k.split(ATTENTION_ROWS), v.split(ATTENTION_ROWS), strict=True)
        attended = torch.cat([attend(*part) for part in parts])
        out: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out

    def of_zeros(self) -> Tensor:
        """What attention to a context of zeros gives, whatever x: (channels,)."""
        (last,) = self.to_out
        bias: Tensor = last.bias  # type: ignore[assignment]
        return bias


class GEGLU(nn.Module):
    """A linear layer whose second half gates the first."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = Linear(channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return gated(x, self.proj)


class FeedForward(nn.Module):
    """Two linear layers, four times as wide between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class SpatialBlock(nn.Module):
    """Self-attention of x (b*n, tokens, c), cross-attention to the audio tokens (b, t, context_dim), feed-forward.

    The tokens are the pixels of a frame. Audio tokens that are None stand for zeros: what is attended to is 0 then,
    whatever the query.
    """

    def __init__(self, channels: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, channels, head_dim)
        self.ff = FeedForward(channels)
        self.attn2 = Attention(channels, context_dim, head_dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        if context is None:
            x = x + self.attn2.of_zeros()
        else:
            queries = self.norm2(x).unflatten(0, (len(context), -1)).flatten(1, 2)  # (b n) s c -> b (n s) c
            x = x + self.attn2(queries, context).view_as(x)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class TemporalBlock(SpatialBlock):
    """A `SpatialBlock` whose tokens are the frames of a pixel, preceded by another feed-forward."""

    def __init__(self, channels: int, context_dim: int, head_dim: int) -> None:
        super().__init__(channels, context_dim, head_dim)
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return super().forward(x + self.ff_in(self.norm_in(x)), context)


class VideoTransformer(nn.Module):
    """Attention over space, then over time, blended; x (b*t, c, h, w)."""

    def __init__(self, channels: int, context_dim: int, head_dim: int, depth: int) -> None:
        super().__init__()
        widths = channels, context_dim, head_dim
        self.norm = GroupNorm(32, channels, eps=1e-6)
        self.proj_in = Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(SpatialBlock(*widths) for _ in range(depth))
        self.proj_out = Linear(channels, channels)
        self.time_stack = nn.ModuleList(TemporalBlock(*widths) for _ in range(depth))
        self.time_pos_embed = nn.Sequential(Linear(channels, 4 * channels), nn.SiLU(), Linear(4 * channels, channels))
        self.time_mixer = Mixer()

    def forward(self, x: Tensor, side: SideInputs) -> Tensor:
        (b, t), (channels, height, width) = side.single.shape, x.shape[1:]
        place = torch.arange(t, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        frame = sinusoids(place, channels).to(x.dtype)
        position = self.time_pos_embed(frame).repeat(b, 1)[:, None]
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # n c h w -> n (h w) c
        for spatial_block, temporal_block in zip(self.transformer_blocks, self.time_stack, strict=True):
            tokens = spatial_block(tokens, side.context)
            moving = (tokens + position).unflatten(0, (b, t)).transpose(1, 2).flatten(0, 1)  # (b t) s c -> (b s) t c
            moving = temporal_block(moving, side.context).unflatten(0, (b, -1)).transpose(1, 2).flatten(0, 1)
            blended = self.time_mixer(tokens.unflatten(0, (b, t)), moving.unflatten(0, (b, t)), side.single)
            tokens = blended.flatten(0, 1)
        out: Tensor = x + self.proj_out(tokens).transpose(1, 2).unflatten(2, (height, width))
        return out
