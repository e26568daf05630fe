"""HuBERT, the speech encoder of the published keyframe stage."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..weights.files import read_tensors, shapes_of
from ..weights.identify import has_ears
from .encoder import SpeechEncoder
from .weights import load_model, weight_file


class Hubert(SpeechEncoder):
    """HuBERT base: normalises the whole signal and appends a row of zeros for the missing last half-frame."""

    name = "hubert"
    files = "HuBERT (published keyframe model): transformers folder or file"
    files_zh = "HuBERT(公开的关键帧模型): transformers 文件夹或文件"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> SpeechEncoder:
        file = weight_file(path) if path.is_dir() else path
        if has_ears(shapes_of(read_tensors(file)[0])):
            from .ears import Ears  # here: only KeySync small has ears

            return Ears.load(file, device, dtype)
        return cls(load_model("hubert", "Hubert", path, device, dtype))

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        variance, mean = torch.var_mean(waveform)
        scale = (variance + 1e-7).sqrt()
        return self._rows(waveform, one_pass, lambda part: (part - mean) / scale, zeros=1)
