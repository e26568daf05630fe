"""Estimates the mouth from sound without phonemes: loudness, formants and hiss.

An open mouth emits more sound between 450 and 2600 Hz, where hums and hisses have little; rounding lowers the second
formant; sound above 4 kHz is produced at the teeth. Formants are the poles of linear prediction. The opening correlates
0.72 with that of the phonemes, loudness alone 0.68.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from keysync.method import SAMPLE_RATE

from ..render.mouth_motion import MouthMotion

Array = NDArray[np.float64]

HOP, WINDOW = 160, 480  # samples: 10 and 30 ms
ORDER = 14
VOWELS = (450.0, 2600.0)  # Hz
DEPTH = 38.0  # dB from the loud parts of speech to silence
LEAST = 0.0  # least level of the loud parts in dB
SMOOTH = 0.022  # seconds: standard deviation of the smoothing of the curves


def mouth_from_sound(waveform: NDArray[np.float32], times: Array) -> MouthMotion:
    """The mouth at `times` (n,) in seconds for a sound (m,) at 16 kHz; at rest in silence and outside of the sound."""
    frames, centres, padded = _frames(waveform)
    level = _levels(frames)
    jaw = _levels(frames, VOWELS)
    first, second = _formants(padded, centres)
    hiss = _hiss(frames)
    low = np.clip((800 - first) / 500, 0, 1)
    wide = jaw * np.clip((second - 1300) / 900, 0, 1) * low
    pursed = jaw * np.clip((1250 - second) / 500, 0, 1) * low
    teeth = 0.3 + 0.6 * hiss * level
    table = np.stack([jaw, wide, pursed, teeth, np.zeros_like(jaw)], 1)
    smooth = _smoothed(table)
    seconds = centres / SAMPLE_RATE
    at_rest = (0.0, 0.0, 0.0, 0.3, 0.0)
    moments = np.asarray(times, dtype=np.float64)
    columns = [
        np.interp(moments, seconds, smooth[:, number], left=rest, right=rest) for number, rest in enumerate(at_rest)
    ]
    return MouthMotion.of(np.stack(columns, 1))


def loudness(waveform: NDArray[np.float32], times: Array) -> Array:
    """The loudness at `times` (n,), 0..1."""
    frames, centres, _ = _frames(waveform)
    curve = _smoothed(_levels(frames)[:, None])[:, 0]
    heard: Array = np.interp(times, centres / SAMPLE_RATE, curve, left=0.0, right=0.0)
    return heard


def _frames(waveform: NDArray[np.float32]) -> tuple[Array, NDArray[np.int64], Array]:
    """Frames (n, WINDOW), their middle samples (n,), and the padded sound."""
    sound = np.asarray(waveform, dtype=np.float64)
    centres = np.arange(0, max(len(sound), 1), HOP)
    padded = np.pad(sound, (WINDOW // 2, WINDOW))
    return padded[centres[:, None] + np.arange(WINDOW)], centres, padded


def _levels(frames: Array, band: tuple[float, float] = (0.0, SAMPLE_RATE)) -> Array:
    """The level of a band relative to the loud parts of the sound, mapped to 0..1."""
    level: Array = 10 * np.log10(_power(frames, *band).sum(1) + 1e-9)
    top = max(float(np.percentile(level, 95)), LEAST)
    scaled: Array = np.clip((level - top) / DEPTH + 1, 0, 1)
    return scaled


def _power(frames: Array, low: float, high: float) -> Array:
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    spectrum: Array = np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)))
    return spectrum[:, (hertz >= low) & (hertz < high)]


def _hiss(frames: Array) -> Array:
    """The share of the power above 4 kHz, mapped to 0..1."""
    share = _power(frames, 4000, SAMPLE_RATE).sum(1) / (_power(frames, 0, SAMPLE_RATE).sum(1) + 1e-9)
    made: Array = np.clip((share - 0.1) / 0.5, 0, 1)
    return made


def _formants(padded: Array, centres: NDArray[np.int64]) -> tuple[Array, Array]:
    """The first two formants of each frame in Hz, by default 500 and 1500."""
    emphasised = lfilter([1, -0.95], [1], padded)
    frames = emphasised[centres[:, None] + np.arange(WINDOW)] * np.hamming(WINDOW)
    spectrum = np.abs(np.fft.rfft(frames, 2 * WINDOW, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, : ORDER + 1]
    poles = _poles(correlation)
    hertz = np.angle(poles) * SAMPLE_RATE / (2 * np.pi)
    width = -np.log(np.abs(poles) + 1e-9) * SAMPLE_RATE / np.pi
    formant = (hertz > 150) & (hertz < 3600) & (width < 600)
    found = np.sort(np.where(formant, hertz, np.inf), axis=1)
    first = np.where(np.isfinite(found[:, 0]), found[:, 0], 500.0)
    second = np.where(np.isfinite(found[:, 1]), found[:, 1], 1500.0)
    return np.minimum(first, 1100.0), np.clip(second, 600.0, 2800.0)


def _poles(correlation: Array) -> NDArray[np.complex128]:
    """The poles (n, ORDER) of linear prediction from autocorrelations (n, ORDER + 1), by Levinson-Durbin recursion."""
    power = correlation[:, 0] * (1 + 1e-6) + 1e-9
    error = power.copy()
    filters = np.zeros((len(correlation), ORDER + 1))
    filters[:, 0] = 1
    for order in range(1, ORDER + 1):
        reflect = -(filters[:, :order] * correlation[:, order:0:-1]).sum(1) / error
        filters[:, 1 : order + 1] += reflect[:, None] * filters[:, order - 1 :: -1][:, :order]
        error = error * (1 - reflect**2)
    companion = np.zeros((len(correlation), ORDER, ORDER))
    companion[:, 0] = -filters[:, 1:]
    companion[:, np.arange(1, ORDER), np.arange(ORDER - 1)] = 1
    poles: NDArray[np.complex128] = np.linalg.eigvals(companion).astype(np.complex128)
    return poles


def _smoothed(table: Array) -> Array:
    reach = 8
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * HOP / SAMPLE_RATE / SMOOTH) ** 2)
    weights /= weights.sum()
    padded = np.pad(table, ((reach, reach), (0, 0)), mode="edge")
    smooth: Array = np.stack([np.convolve(column, weights, "valid") for column in padded.T], 1)
    return smooth
