"""Speech: a waveform at 16 kHz to 50 feature rows a second, two for each frame of 25 frames a second (paper §3.2).

The keyframe stage hears HuBERT, the interpolation stage WavLM, both through transformers. Their attention and group
norm see the whole signal, so up to a minute is encoded in one pass; longer speech in overlapping windows, so that
memory stays flat.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import KeySyncError
from ..method import NETWORK_RATE, ROWS_PER_SECOND, SAMPLE_RATE
from .weights import load_model

logger = logging.getLogger(__name__)

# Samples of a frame, and from one feature row to the next.
FRAME = SAMPLE_RATE // NETWORK_RATE
ROW = SAMPLE_RATE // ROWS_PER_SECOND
# The longest speech encoded in one pass; beyond it, windows of which only the middle is kept.
ONE_PASS = 60 * SAMPLE_RATE
WINDOW = 30 * SAMPLE_RATE
CONTEXT = 5 * SAMPLE_RATE


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """`rows` (r, c) float32 on the CPU, 50 a second from time 0; r is even."""

    rows: Tensor
    encoder: str

    @property
    def frames(self) -> Tensor:
        """The pair of rows of each frame of 25 frames a second: (r / 2, 2, c)."""
        return self.rows.reshape(-1, 2, self.rows.shape[1])

    def at(self, times: Tensor | NDArray[np.float64]) -> Tensor:
        """The pairs of rows (n, 2, c) of frames shown at `times` (n,) seconds: positions 50 t and 50 t + 1.

        Linear between rows; before the first row the first, after the last the last.
        """
        last = len(self.rows) - 1
        # Rounded to 20 ns: a frame's own time meets its own rows exactly.
        first = torch.round(torch.as_tensor(times, dtype=torch.float64) * ROWS_PER_SECOND, decimals=6)
        positions = torch.stack((first, first + 1), -1).clamp(0, last)
        before = positions.long()
        after = (before + 1).clamp_max(last)
        return torch.lerp(self.rows[before], self.rows[after], (positions - before)[..., None].to(self.rows.dtype))


class SpeechEncoder(ABC):
    """A speech model of transformers, and how its features are framed."""

    name: ClassVar[str]

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def channels(self) -> int:
        """Width of a feature row."""
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def encode(self, waveform: Tensor, *, one_pass: int = ONE_PASS) -> SpeechFeatures:
        """Features of a waveform (n,) float32, 16 kHz mono; speech of more than `one_pass` samples goes in windows.

        Raises `KeySyncError` for speech without samples.
        """
        if waveform.ndim != 1 or len(waveform) == 0:
            raise KeySyncError(
                f"speech of shape {tuple(waveform.shape)}: one channel with at least one sample is needed"
            )
        return SpeechFeatures(self._encode(F.pad(waveform, (0, -len(waveform) % FRAME)), one_pass), self.name)

    @abstractmethod
    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        """Rows (2 f, c) of a waveform of f whole frames."""

    def _rows(self, waveform: Tensor, one_pass: int, prepare: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor:
        """The model's own rows (2 f - 1, c) of a waveform of f frames; row r hears the samples from 320 r on."""
        length = len(waveform)
        if length <= max(one_pass, WINDOW):
            return self._run(prepare(waveform))
        kept = WINDOW - 2 * CONTEXT
        logger.info("%s: %.0f s of speech in windows of %d s", self.name, length / SAMPLE_RATE, WINDOW // SAMPLE_RATE)
        parts = []
        for start in range(0, length, kept):
            stop = min(start + kept, length)
            begin = min(max(start - CONTEXT, 0), length - WINDOW)
            rows = self._run(prepare(waveform[begin : begin + WINDOW]))
            parts.append(rows[(start - begin) // ROW : (stop - begin) // ROW])
        return torch.cat(parts)

    def _run(self, waveform: Tensor) -> Tensor:
        waveform = waveform.to(self.model.device, self.model.dtype)
        rows: Tensor = self.model(waveform[None]).last_hidden_state[0]
        return rows.float().cpu()


class Hubert(SpeechEncoder):
    """HuBERT base: the whole signal normalised, the missing last half-frame a row of zeros."""

    name = "hubert"

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        variance, mean = torch.var_mean(waveform)
        scale = (variance + 1e-7).sqrt()
        return F.pad(self._rows(waveform, one_pass, lambda part: (part - mean) / scale), (0, 0, 0, 1))


class WavLM(SpeechEncoder):
    """WavLM base: the signal as it is, an even number of frames, rows stretched by nearest neighbour to two a frame."""

    name = "wavlm"

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        rows = self._rows(F.pad(waveform, (0, len(waveform) % (2 * FRAME))), one_pass)
        # n rows stretched to n + 1 by nearest neighbour, row floor(i * n / (n + 1)): the first one twice.
        return torch.cat((rows[:1], rows))


ENCODERS: dict[str, type[SpeechEncoder]] = {encoder.name: encoder for encoder in (Hubert, WavLM)}


def load_encoder(
    name: str, path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> SpeechEncoder:
    """The speech encoder `name` (a key of `ENCODERS`) from a local folder or file, never from a hub.

    A folder holds config.json and model.safetensors or pytorch_model.bin; a file is one of these, or Microsoft's WavLM.
    It works in float32 unless told otherwise.
    Raises `KeySyncError` for an unknown name, another kind of file, and missing or misshapen tensors.
    """
    if name not in ENCODERS:
        raise KeySyncError(f"no speech encoder is called {name!r}: choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name](load_model(name, Path(path), torch.device(device), dtype or torch.float32))


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
