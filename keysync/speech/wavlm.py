"""WavLM, which the published interpolation stage hears."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .encoder import SpeechEncoder
from .features import FRAME


class WavLM(SpeechEncoder):
    """WavLM base: the signal as it is, an even number of frames, rows stretched by nearest neighbour to two a frame."""

    name = "wavlm"

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        rows = self._rows(F.pad(waveform, (0, len(waveform) % (2 * FRAME))), one_pass)
        # n rows stretched to n + 1 by nearest neighbour, row floor(i * n / (n + 1)): the first one twice.
        return torch.cat((rows[:1], rows))
