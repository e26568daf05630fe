"""Mel-frequency cepstral coefficients as SyncNet was trained with: those of the package python_speech_features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from keysync.method import SAMPLE_RATE

from .take import Floats

# Coefficients, and rows a second: windows of 25 ms every 10 ms.
COEFFICIENTS, ROWS_PER_SECOND = 13, 100
LENGTH, STEP, POINTS = SAMPLE_RATE // 40, SAMPLE_RATE // ROWS_PER_SECOND, 512
FILTERS, EMPHASIS, LIFTER = 26, 0.97, 22
# The level of 1 in samples of 16 bits.
FULL_SCALE = 2**15
TINY = np.finfo(np.float64).eps


def mfcc(waveform: NDArray[np.float32]) -> Floats:
    """The coefficients (rows, 13) of a waveform (n,) at 16 kHz, -1..1; the first is the logarithm of the energy."""
    samples = np.round(waveform.astype(np.float64) * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1)
    sharp = np.append(samples[:1], samples[1:] - EMPHASIS * samples[:-1])
    rows = 1 + max(0, -(-(len(sharp) - LENGTH) // STEP))
    padded = np.pad(sharp, (0, max(0, (rows - 1) * STEP + LENGTH - len(sharp))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, LENGTH)[::STEP][:rows]
    power = np.abs(np.fft.rfft(windows, POINTS)) ** 2 / POINTS
    energy, bands = power.sum(1), power @ _filters().T
    cepstrum = dct(np.log(np.where(bands == 0, TINY, bands)), axis=1, norm="ortho")[:, :COEFFICIENTS]
    found: Floats = cepstrum * (1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER))
    found[:, 0] = np.log(np.where(energy == 0, TINY, energy))
    return found


def _filters() -> Floats:
    """Triangles (26, 257) over the bins of the spectrum, evenly spaced in mel from 0 to 8 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    edges = np.floor((POINTS + 1) * hertz / SAMPLE_RATE)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(POINTS // 2 + 1)
    rise, fall = (bins - low) / np.maximum(middle - low, 1), (high - bins) / np.maximum(high - middle, 1)
    found: Floats = np.where(
        (bins >= low) & (bins < middle), rise, np.where((bins >= middle) & (bins < high), fall, 0.0)
    )
    return found
