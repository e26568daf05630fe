"""The layers of the U-Net: residual blocks and transformers, each over space, then over time (paper §3.3).

Attribute names are the published ones.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# CUDA's attention kernels take at most 2**16 - 1 batch rows; ComfyUI splits at half of that too.
ATTENTION_ROWS = 2**15


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32, or as it is in float64: for what half precision is too coarse for."""
    return x if x.dtype == torch.float64 else x.float()


def sinusoids(positions: Tensor, channels: int) -> Tensor:
    """Positions (n,) as cosines and sines (n, channels) of geometrically falling frequencies, at least in float32."""
    positions, half = at_least_float32(positions), channels // 2
    frequencies = torch.exp(
        -math.log(10000.0) * torch.arange(half, dtype=positions.dtype, device=positions.device) / half
    )
    angles = positions[:, None] * frequencies
    return F.pad(torch.cat((angles.cos(), angles.sin()), dim=-1), (0, channels % 2))


class GroupNorm(nn.GroupNorm):
    """Group norm that computes at least in float32, whatever the weights are stored as."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = at_least_float32(self.weight), at_least_float32(self.bias)
        return F.group_norm(at_least_float32(x), self.num_groups, weight, bias, self.eps).to(x.dtype)


def mix(mix_factor: Tensor, spatial: Tensor, temporal: Tensor, still: Tensor) -> Tensor:
    """Blends what space and time made of x; frames marked `still` (1, shaped like x) take the spatial part alone."""
    alpha = torch.where(still.bool(), 1.0, mix_factor.sigmoid().to(spatial.dtype))
    return (alpha * spatial + (1.0 - alpha) * temporal).to(spatial.dtype)


class Mixer(nn.Module):
    """Holds the learned share of the spatial part."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.tensor([0.5]))


class TimeConv(nn.Conv3d):
    """A convolution over time, kernel 3x1x1: of two dimensions inside, which takes a CPU half as long."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, input: Tensor) -> Tensor:
        """(b, c, t, h, w)"""
        places: Tensor = F.conv2d(input.flatten(3), self.weight.squeeze(-1), self.bias, padding=(1, 0))
        out: Tensor = places.unflatten(3, input.shape[3:])
        return out


class ResBlock(nn.Module):
    """A residual block over space (2-d) or time (3-d, kernel 3x1x1) that the embedding of each frame is added to."""

    def __init__(self, channels: int, out_channels: int, embedding: int, over_time: bool) -> None:
        super().__init__()
        conv = TimeConv if over_time else partial(nn.Conv2d, kernel_size=3, padding=1)
        self.in_layers = nn.Sequential(GroupNorm(32, channels), nn.SiLU(), conv(channels, out_channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out_channels))
        out = conv(out_channels, out_channels)
        self.out_layers = nn.Sequential(GroupNorm(32, out_channels), nn.SiLU(), nn.Identity(), out)
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (n, c, h, w) with embedding (n, e), or x (b, c, t, h, w) with embedding (b, t, e)."""
        emb = self.emb_layers(embedding)
        emb = emb[:, :, None, None] if x.ndim == 4 else emb.transpose(1, 2)[..., None, None]  # b t c -> b c t 1 1
        out: Tensor = self.skip_connection(x) + self.out_layers(self.in_layers(x) + emb)
        return out


class VideoResBlock(ResBlock):
    """A residual block over space, then one over time, blended."""

    def __init__(self, channels: int, out_channels: int, embedding: int) -> None:
        super().__init__(channels, out_channels, embedding, over_time=False)
        self.time_stack = ResBlock(out_channels, out_channels, embedding, over_time=True)
        self.time_mixer = Mixer()

    def forward(
        self, x: Tensor, embedding: Tensor, context: Tensor | None = None, still: Tensor | None = None
    ) -> Tensor:
        """x (b*t, c, h, w), embedding (b*t, e), still (b, t). The context is for the transformers alone."""
        assert still is not None
        b, t = still.shape
        spatial = super().forward(x, embedding)
        clip = spatial.unflatten(0, (b, t)).transpose(1, 2)  # (b t) c h w -> b c t h w
        temporal = self.time_stack(clip, embedding.unflatten(0, (b, t)))
        mixed = mix(self.time_mixer.mix_factor, clip, temporal, still[:, None, :, None, None])
        return mixed.transpose(1, 2).flatten(0, 1)


class Attention(nn.Module):
    """Multi-head attention of x (n, tokens, c) to itself or to a context (n, tokens', context_dim)."""

    def __init__(self, channels: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_dim, channels, bias=False)
        self.to_v = nn.Linear(context_dim, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # n s (heads d) -> n heads s d
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        parts = zip(q.split(ATTENTION_ROWS), k.split(ATTENTION_ROWS), v.split(ATTENTION_ROWS), strict=True)
        attended = torch.cat([F.scaled_dot_product_attention(*part) for part in parts])
        out: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out


class GEGLU(nn.Module):
    """A linear layer whose second half gates the first."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """Two linear layers, four times as wide between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class SpatialBlock(nn.Module):
    """Self-attention of x (b*n, tokens, c), cross-attention to the audio tokens (b, t, context_dim), feed-forward.

    The tokens are the pixels of a frame.
    """

    def __init__(self, channels: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, channels, head_dim)
        self.ff = FeedForward(channels)
        self.attn2 = Attention(channels, context_dim, head_dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        asking = self.norm2(x).unflatten(0, (len(context), -1)).flatten(1, 2)  # (b n) s c -> b (n s) c
        x = x + self.attn2(asking, context).view_as(x)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class TemporalBlock(SpatialBlock):
    """The same where the tokens are the frames of a pixel, behind one more feed-forward."""

    def __init__(self, channels: int, context_dim: int, head_dim: int) -> None:
        super().__init__(channels, context_dim, head_dim)
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return super().forward(x + self.ff_in(self.norm_in(x)), context)


class VideoTransformer(nn.Module):
    """Attention over space, then over time, blended; x (b*t, c, h, w) with the context (b, t, context_dim)."""

    def __init__(self, channels: int, context_dim: int, head_dim: int, depth: int) -> None:
        super().__init__()
        widths = channels, context_dim, head_dim
        self.norm = GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(SpatialBlock(*widths) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels)
        self.time_stack = nn.ModuleList(TemporalBlock(*widths) for _ in range(depth))
        self.time_pos_embed = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, channels)
        )
        self.time_mixer = Mixer()

    def forward(self, x: Tensor, embedding: Tensor, context: Tensor, still: Tensor) -> Tensor:
        """The embedding is for the residual blocks alone; still is (b, t)."""
        (b, t), (channels, height, width) = still.shape, x.shape[1:]
        place = torch.arange(t, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        frame = sinusoids(place, channels).to(x.dtype)
        position = self.time_pos_embed(frame).repeat(b, 1)[:, None]
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # n c h w -> n (h w) c
        for spatial_block, temporal_block in zip(self.transformer_blocks, self.time_stack, strict=True):
            tokens = spatial_block(tokens, context)
            moving = (tokens + position).unflatten(0, (b, t)).transpose(1, 2).flatten(0, 1)  # (b t) s c -> (b s) t c
            moving = temporal_block(moving, context).unflatten(0, (b, -1)).transpose(1, 2).flatten(0, 1)
            tokens = mix(self.time_mixer.mix_factor, tokens, moving, still.flatten()[:, None, None])
        out: Tensor = x + self.proj_out(tokens).transpose(1, 2).unflatten(2, (height, width))
        return out
