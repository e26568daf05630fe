"""The speech encoders there are, by name: a waveform at 16 kHz to feature rows (paper §3.2)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from .encoder import SpeechEncoder
from .features import FRAME
from .hubert import Hubert
from .wavlm import WavLM

logger = logging.getLogger(__name__)

ENCODERS: dict[str, type[SpeechEncoder]] = {encoder.name: encoder for encoder in (Hubert, WavLM)}


def load_encoder(
    name: str, path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> SpeechEncoder:
    """The speech encoder `name` (a key of `ENCODERS`) from a local folder or file, never from a hub.

    A folder holds config.json and model.safetensors or pytorch_model.bin; a file is one of these, or Microsoft's WavLM.
    It works in float32 by default.
    Raises `KeySyncError` for an unknown name, another kind of file, and missing or misshapen tensors.
    """
    if name not in ENCODERS:
        raise KeySyncError(f"no speech encoder is called {name!r}: choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name].load(Path(path), torch.device(device), dtype or torch.float32)


def window_difference(encoder: SpeechEncoder, waveform: Tensor) -> float:
    """How far windows are from one pass on this waveform: root mean square of the difference over that of the features.

    It cannot be zero: attention and group norm see a window instead of the whole. Random weights, whose attention
    listens everywhere, differ by 2 to 9 % on a minute of speech. Up to `WINDOW` samples it is zero. It is logged.
    """
    whole = encoder.encode(waveform, one_pass=len(waveform) + FRAME).rows
    parts = encoder.encode(waveform, one_pass=0).rows
    difference = float((whole - parts).square().mean().sqrt() / whole.square().mean().sqrt())
    seconds = len(waveform) / SAMPLE_RATE
    logger.info("%s: windows differ from one pass by %.2g on %.1f s of speech", encoder.name, difference, seconds)
    return difference
