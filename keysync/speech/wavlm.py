"""WavLM, the speech encoder of the published interpolation stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .attention import attend, gate_of
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
        for layer in model.encoder.layers:
            layer.attention.forward = partial(_attend, layer.attention)
        return cls(model)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        # n rows stretched to n + 1 by nearest neighbour, row floor(i * n / (n + 1)): the first one twice.
        return self._rows(waveform, one_pass, silence=len(waveform) % (2 * FRAME), first=1)


def _attend(
    attention: Any, hidden_states: Tensor, attention_mask: None = None, position_bias: Tensor | None = None, **_: Any
) -> tuple[Tensor, None, Tensor]:
    """In place of transformers' own `WavLMAttention.forward`, for a batch of one: the same numbers, up to rounding.

    transformers holds several matrices of heads x queries x keys: most of the memory that a minute of speech takes.
    Here `position_bias`, which the first layer makes for all, is (heads, 2 s - 1) by distance.
    """
    (x,) = hidden_states
    tokens = len(x)
    if position_bias is None:
        distances = torch.arange(1 - tokens, tokens, device=x.device)
        position_bias = attention.rel_attn_embed(attention._relative_positions_bucket(distances)).T
    own, q, k, v = (
        part.unflatten(1, (attention.num_heads, -1)).transpose(0, 1)  # s (heads d) -> heads s d
        for part in (x, attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
    )
    gate = gate_of(attention.gru_rel_pos_linear(own), attention.gru_rel_pos_const.flatten())
    return attention.out_proj(attend(q, k, v, gate, position_bias))[None], None, position_bias
