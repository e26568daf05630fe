"""Kaldi's filter bank (Povey et al., 2011): the logarithm of the energy in 128 mel bands, 100 rows a second."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..method import SAMPLE_RATE

# Samples of a frame, and from one frame to the next; points of the spectrum, bands and their lowest frequency in Hz.
FRAME, HOP, POINTS, BANDS, LOWEST = 400, 160, 512, 128, 20.0
EMPHASIS, LEAST = 0.97, 1.1920929e-07
# Frames that are transformed at once: all of a minute would take many times the memory of its rows.
PORTION = 1000


def fbank(waveform: Tensor) -> Tensor:
    """Rows (r, 128) of a waveform (n,) float32, -1..1, 16 kHz mono: only whole frames, r = 1 + (n - 400) // 160."""
    portions = (waveform * 2**15).unfold(0, FRAME, HOP).split(PORTION)
    return torch.cat([_rows(frames) for frames in portions])


def _rows(frames: Tensor) -> Tensor:
    """The rows (r, 128) of frames (r, 400)."""
    frames = frames - frames.mean(1, keepdim=True)
    before = F.pad(frames[:, None], (1, 0), mode="replicate")[:, 0, :-1]
    frames = (frames - EMPHASIS * before) * _window().to(frames.device)
    energy = torch.fft.rfft(frames, POINTS).abs().square()[:, : POINTS // 2]  # the last bin is not used
    rows: Tensor = (energy @ _filters().to(frames.device)).clamp_min(LEAST).log()
    return rows


@lru_cache(maxsize=1)
def _window() -> Tensor:
    """Povey's window (400,): Hann's, a little wider."""
    return torch.hann_window(FRAME, periodic=False, dtype=torch.float64).pow(0.85).float()


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Triangles (256, 128) over the spectrum, evenly spread on the mel scale and not normalised."""
    edges = torch.linspace(_mel(LOWEST), _mel(SAMPLE_RATE / 2), BANDS + 2, dtype=torch.float64)
    bins = 1127 * torch.log1p(torch.arange(POINTS // 2, dtype=torch.float64)[:, None] * SAMPLE_RATE / POINTS / 700)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clamp_min(0).float()


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)
