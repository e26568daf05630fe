"""BEATs' network (Chen et al., 2023): patches of a spectrogram to tokens. Attribute names are the published ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import attend, gate_of


@dataclass(frozen=True)
class BeatsConfig:
    """Widths and depths; the defaults are those of the published BEATs_iter3+."""

    patch: int = 16
    embed_dim: int = 512
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    kernel: int = 128
    groups: int = 16
    buckets: int = 320
    farthest: int = 800
    deep_norm: bool = True


def buckets_of(distances: Tensor, count: int, farthest: int) -> Tensor:
    """The bucket, of `count`, of each distance from query to key: one half for keys ahead; near ones by themselves, far
    ones by their logarithm, those from `farthest` on in the last."""
    half, near = count // 2, count // 4
    away = distances.abs()
    logs = torch.log(away.clamp_min(1).float() / near) / math.log(farthest / near) * (half - near)
    far = (near + logs.long()).clamp_max(half - 1)
    return half * (distances > 0).long() + torch.where(away < near, away, far)


class Attention(nn.Module):
    """Self-attention with a position bias that each head gates by its query."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(config.width, config.width) for _ in range(4))
        self.grep_linear = nn.Linear(config.width // config.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, config.heads, 1, 1))
        self.relative_attention_bias = nn.Embedding(config.buckets, config.heads)

    def forward(self, x: Tensor, biases: Tensor) -> Tensor:
        """x (tokens, width); biases (heads, 2 tokens - 1) by distance, of last query to first key first."""
        q, k, v = (
            layer(x).unflatten(1, (self.heads, -1)).transpose(0, 1)  # s (heads d) -> heads s d
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        gate = gate_of(self.grep_linear(q), self.grep_a.flatten())
        out: Tensor = self.out_proj(attend(q, k, v, gate, biases))
        return out


class Layer(nn.Module):
    """Attention and two linear layers, each normalised after it is added to `alpha` times its input."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.alpha = (2 * config.layers) ** 0.25 if config.deep_norm else 1.0
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1, self.fc2 = nn.Linear(config.width, config.inner), nn.Linear(config.inner, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, biases: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(self.alpha * x + self.self_attn(x, biases))
        out: Tensor = self.final_layer_norm(self.alpha * x + self.fc2(F.gelu(self.fc1(x))))
        return out


class Positions(nn.Module):
    """A grouped convolution over the tokens, its weight normalised for each place of the kernel."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.groups = config.groups
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.weight_g = nn.Parameter(torch.ones(1, 1, config.kernel))
        self.weight_v = nn.Parameter(torch.ones(config.width, config.width // config.groups, config.kernel))

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, width)"""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        kernel = weight.shape[2]
        seen = F.conv1d(x.T, weight, self.bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(seen[:, : len(x)]).T


class Encoder(nn.Module):
    """Tokens in their context."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv = nn.ModuleList([Positions(config)])
        self.layer_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, width)"""
        x = self.layer_norm(x + self.pos_conv[0](x))
        distances = torch.arange(1 - len(x), len(x), device=x.device)
        first: Layer = self.layers[0]  # type: ignore[assignment]
        table = first.self_attn.relative_attention_bias  # the others are copies of it
        biases = table(buckets_of(distances, self.config.buckets, self.config.farthest)).T.to(x)
        for layer in self.layers:
            x = layer(x, biases)
        return x


class BeatsNetwork(nn.Module):
    """A normalised spectrogram (rows, mels) to tokens (m, width): for each 16 rows one for each 16 mel bands."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, config.patch, config.patch, bias=False)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        same = config.embed_dim == config.width
        self.post_extract_proj = nn.Identity() if same else nn.Linear(config.embed_dim, config.width)
        self.encoder = Encoder(config)

    def forward(self, spectrogram: Tensor) -> Tensor:
        patches = self.patch_embedding(spectrogram[None, None])[0].flatten(1).T  # 1 c t m -> (t m) c
        out: Tensor = self.encoder(self.post_extract_proj(self.layer_norm(patches)))
        return out
