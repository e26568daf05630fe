"""WavLM, the speech encoder of the published interpolation stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .encoder import SpeechEncoder
from .features import FRAME
from .weights import load_model


class WavLM(SpeechEncoder):
    """WavLM base: takes the signal as it is, padded to an even number of frames; stretches rows to two per frame."""

    name = "wavlm"
    files = "WavLM (published interpolation model): transformers folder or file, or Microsoft's WavLM-Base+.pt"
    files_zh = "WavLM(公开的插值模型): transformers 文件夹或文件,或微软的 WavLM-Base+.pt"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> WavLM:
        model = load_model("wavlm", "WavLM", path, device, dtype)
        attention = model.encoder.layers[0].attention  # the only layer with a distance embedding
        attention.compute_bias = partial(_bias_of_distances, attention)
        return cls(model)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        rows = self._rows(F.pad(waveform, (0, len(waveform) % (2 * FRAME))), one_pass)
        # n rows stretched to n + 1 by nearest neighbour, row floor(i * n / (n + 1)): the first one twice.
        return torch.cat((rows[:1], rows))


def _bias_of_distances(attention: Any, queries: int, keys: int) -> Tensor:
    """The position bias (heads, queries, keys), bit-identical to transformers' own.

    It depends only on the distance, so each distance is looked up once. transformers fills six matrices of queries x
    keys instead: most of the memory that a minute of speech takes.
    """
    distances = torch.arange(1 - queries, keys, device=attention.rel_attn_embed.weight.device)
    biases = attention.rel_attn_embed(attention._relative_positions_bucket(distances))
    bias: Tensor = biases.T.unfold(1, keys, 1).flip(1)
    return bias
