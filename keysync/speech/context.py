"""A small network that reads pairs of Whisper's rows in their context: 8 frames before and after each frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Frames before and after a frame that are seen.
CONTEXT = 8
# Channels of the built-in Whisper's rows, and of the projected ones.
CHANNELS, PROJECTED = 384, 64


class ContextNetwork(nn.Module):
    """Pairs of rows (b, f, 2, CHANNELS) to `outputs` numbers (b, f, outputs).

    A linear layer sees `near` frames before and after each frame, a hidden one `CONTEXT`; beyond its ends, speech goes
    on as it begins and ends.
    """

    def __init__(self, outputs: int, hidden: int, near: int = CONTEXT) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(CHANNELS), requires_grad=False)
        self.project = nn.Linear(CHANNELS, PROJECTED)
        self.linear = nn.Conv1d(2 * PROJECTED, outputs, 2 * near + 1)
        self.hidden = nn.Conv1d(2 * PROJECTED, hidden, 2 * CONTEXT + 1)
        self.out = nn.Linear(hidden, outputs, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        return self.read(self.projected(rows))

    def projected(self, rows: Tensor) -> Tensor:
        """What the network sees of rows (..., CHANNELS): (..., PROJECTED)."""
        seen: Tensor = self.project(rows - self.mean)
        return seen

    def read(self, projected: Tensor) -> Tensor:
        """Pairs of projected rows (b, f, 2, PROJECTED) to numbers (b, f, outputs)."""
        # b f 2 c -> b (2 c) f
        heard = projected.flatten(2).transpose(1, 2)
        heard = F.pad(heard, (CONTEXT, CONTEXT), mode="replicate")
        far = CONTEXT - self.linear.kernel_size[0] // 2
        linear = self.linear(heard[..., far : heard.shape[-1] - far]).transpose(1, 2)
        read: Tensor = linear + self.out(F.gelu(self.hidden(heard)).transpose(1, 2))
        return read
