"""wav2vec 2.0, which the published KeyFace interpolation stage hears beside BEATs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .encoder import ONE_PASS, SpeechEncoder
from .features import SpeechFeatures
from .weights import load_model


class Wav2Vec2(SpeechEncoder):
    """wav2vec 2.0 base: normalises the signal before it is padded, and appends a row of zeros for the missing last
    half-frame."""

    name = "wav2vec2"
    files = "wav2vec 2.0 (published KeyFace interpolation model): transformers folder or file"
    files_zh = "wav2vec 2.0(公开的 KeyFace 插值模型): transformers 文件夹或文件"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Wav2Vec2:
        return cls(load_model("wav2vec2", "Wav2Vec2", path, device, dtype))

    def encode(self, waveform: Tensor, *, one_pass: int = ONE_PASS) -> SpeechFeatures:
        if len(waveform) < 2:  # one sample has no variance
            return super().encode(waveform, one_pass=one_pass)
        variance, mean = torch.var_mean(waveform)
        return super().encode((waveform - mean) / (variance + 1e-7).sqrt(), one_pass=one_pass)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        return self._rows(waveform, one_pass, zeros=1)
