"""A transformer block over tokens (n, t, c): self-attention, then two linear layers, each after a layer norm."""

from __future__ import annotations

from torch import Tensor, nn

from ...network.cpu import Linear
from ...network.layers import Attention


class TokenBlock(nn.Module):
    """Adds attention and a layer that is `WIDER` times as wide inside."""

    WIDER = 4

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, channels, head_dim)
        inner = self.WIDER * channels
        self.feed = nn.Sequential(Linear(channels, inner), nn.GELU(), Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.feed(self.norm2(x))
        return out
