"""The speech encoders by name: 16 kHz waveforms to feature rows (paper §3.2)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from .beats import Beats
from .encoder import SpeechEncoder
from .features import FRAME
from .hubert import Hubert
from .wav2vec2 import Wav2Vec2
from .wavlm import WavLM
from .whisper import Whisper

logger = logging.getLogger(__name__)

ENCODERS: dict[str, type[SpeechEncoder]] = {
    encoder.name: encoder for encoder in (Hubert, WavLM, Whisper, Wav2Vec2, Beats)
}


def load_encoder(
    name: str, path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> SpeechEncoder:
    """Loads the speech encoder `name` (a key of `ENCODERS`) from a local folder or file, never from a hub.

    A folder holds config.json and model.safetensors or pytorch_model.bin; a file is one of these, or Microsoft's WavLM.
    It works in float32 by default.
    Raises `KeySyncError` for an unknown name, another kind of file, and missing or misshapen tensors.
    """
    if name not in ENCODERS:
        raise KeySyncError(f"unknown speech encoder {name!r}: choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name].load(Path(path), torch.device(device), dtype or torch.float32)


def window_difference(encoder: SpeechEncoder, waveform: Tensor) -> float:
    """The relative difference between encoding in windows and in one pass: RMS of the difference over RMS of the rows.

    Up to `WINDOW` samples it is zero. Longer speech differs, since attention and group norm see only a window: by 2 to
    9 % on a minute of speech with random weights, whose attention is spread over all of it. The result is logged.
    """
    whole = encoder.encode(waveform, one_pass=len(waveform) + FRAME).rows
    parts = encoder.encode(waveform, one_pass=0).rows
    difference = float((whole - parts).square().mean().sqrt() / whole.square().mean().sqrt())
    seconds = len(waveform) / SAMPLE_RATE
    logger.info("%s: windows differ from one pass by %.2g on %.1f s of speech", encoder.name, difference, seconds)
    return difference
