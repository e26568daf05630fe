"""A speech encoder behind the first layer of what reads its rows, so that those of a long film are never held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .encoder import SpeechEncoder, windows
from .features import FRAME, SpeechFeatures


@dataclass(frozen=True, eq=False)
class Projected:
    """The rows of an encoder behind a linear layer, which takes rows (r, c) and gives (r, p).

    As the layer is linear, what lies between two rows may be taken before or after it.
    """

    encoder: SpeechEncoder
    layer: Callable[[Tensor], Tensor]

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        """Features of a waveform (n,) float32, 16 kHz mono, see `SpeechEncoder.encode`; in windows."""
        whole = F.pad(waveform, (0, -len(waveform) % FRAME))
        parts = [self.layer(self.encoder.encode(whole[heard]).rows[kept]) for heard, kept in windows(len(whole))]
        return SpeechFeatures(torch.cat(parts), self.encoder.name)
