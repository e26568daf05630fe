"""A speech encoder behind the first layer of what reads its rows, so that those of a long film are never held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .encoder import SpeechEncoder, windows
from .features import FRAME, ROW, SpeechFeatures


@dataclass(frozen=True, eq=False)
class Projected:
    """The rows of an encoder behind a linear layer, which takes rows (r, c) and gives (r, p).

    As the layer is linear, what lies between two rows may be taken before or after it.
    """

    encoder: SpeechEncoder
    layer: Callable[[Tensor], Tensor]

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        """Features of a waveform (n,) float32, 16 kHz mono, see `SpeechEncoder.encode`; in windows."""
        length = len(waveform) + -len(waveform) % FRAME  # the encoder fills the last window up with silence
        projected = torch.empty(0)
        filled = 0
        for heard, kept in windows(length):
            rows = self.layer(self.encoder.encode(waveform[heard]).rows[kept])
            if not filled:
                projected = rows.new_empty(length // ROW, rows.shape[1])
            projected[filled : filled + len(rows)] = rows
            filled += len(rows)
        return SpeechFeatures(projected, self.encoder.name)
