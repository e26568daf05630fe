"""Active-speaker scores of a clip: scorers of lips against sound, -1..1; higher is more certain.

"agreement" needs no weights. It uses two traces of speech: lips move when the sound is loud and rest in pauses, and an
open mouth sounds brighter than a closed one, because its formants are higher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from keysync.errors import KeySyncError
from keysync.method import NETWORK_RATE, SAMPLE_RATE

from ...config.named import function_named, is_named

# (landmarks (F, 68, 2) at 25 frames a second, the clip's waveform (n,) at 16 kHz) -> -1..1
Scorer = Callable[[ArrayLike, ArrayLike], float]
Signal = NDArray[np.float64]

FRAME = SAMPLE_RATE // NETWORK_RATE  # samples
WINDOW = 1024  # samples of a spectrum, around the middle of a frame
# Frames of sound after lips: lips move before the sound, and the tracks of a file may be slightly out of sync.
LAGS = range(-1, 6)
# Sound that is this many dB below the loud frames is silence.
RANGE = 40.0
LOUDNESS_BANDS = ((100, 400), (400, 1000), (1000, 2500), (2500, 5000))  # Hz
DARK, BRIGHT = (100, 600), (1000, 2500)  # Hz: below the first formant of an open mouth, and its first two
MOTION, SHAPE, POSTURE = 1.5, 1.0, 12.0  # smoothing in frames: of motion, of the mouth's shape, and of its slow drift
SHORTEST = NETWORK_RATE  # frames: shorter clips agree by chance


def agreement(landmarks: ArrayLike, waveform: ArrayLike) -> float:
    """How well the lips (F, 68, 2) agree with the sound (n,): the mean of two correlations, each at its best lag.

    One correlates the speed of the inner lips with the loudness; the other their opening with the brightness of the
    sound. 0 if there is nothing to compare: silence, still lips, less than a second. A mouth behind a microphone, or
    music louder than the voice, scores as low as the lips of somebody else.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if len(points) < SHORTEST:
        return 0.0
    opening: Signal = np.linalg.norm(points[:, 61:64] - points[:, 67:64:-1], axis=2).mean(1)  # 61-67, 62-66, 63-65
    power = spectra(np.asarray(waveform, dtype=np.float64), len(points))
    every = np.ones(len(points))
    loudness = np.stack([level(power, band, RANGE) for band in LOUDNESS_BANDS]).mean(0)
    speed: Signal = np.abs(np.gradient(opening))
    motion = gaussian_filter1d(speed, MOTION)
    moves = _best(motion, gaussian_filter1d(loudness, MOTION), every)
    # Brightness is meaningless in pauses: its weight falls with the level.
    total = level(power, (100, 7000), RANGE)
    heard = np.clip((total - total.max()) / RANGE + 1, 0, 1) ** 2
    brightness = level(power, BRIGHT, 1.5 * RANGE) - level(power, DARK, 1.5 * RANGE)
    return (moves + _best(_shape(opening, every), _shape(brightness, heard), heard)) / 2


def spectra(waveform: Signal, frames: int) -> Signal:
    """The power (frames, WINDOW // 2 + 1) around the middle of each frame, padded with silence."""
    margin = (WINDOW - FRAME) // 2
    samples = frames * FRAME
    sound = np.pad(waveform[:samples], (margin, margin + max(0, samples - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::FRAME]
    waves = np.fft.rfft(windows * np.hanning(WINDOW))
    power: Signal = waves.real**2 + waves.imag**2
    return power


def level(power: Signal, band: tuple[int, int], below: float) -> Signal:
    """The level (F,) in dB of a band in Hz, at most `below` dB under that of the loud frames."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    inside = (frequencies >= band[0]) & (frequencies < band[1])
    decibels = 10 * np.log10(power[:, inside].sum(1) + 1e-9)
    bounded: Signal = np.maximum(decibels, np.percentile(decibels, 95) - below)
    return bounded


def _shape(signal: Signal, weights: Signal) -> Signal:
    """A signal (F,) without noise and slow drift, both estimated by means with `weights`."""
    weights = weights + 1e-3
    fast, slow = (gaussian_filter1d(signal * weights, s) / gaussian_filter1d(weights, s) for s in (SHAPE, POSTURE))
    return cast("Signal", fast - slow)


def _best(lips: Signal, sound: Signal, weights: Signal) -> float:
    """The highest correlation over the lags; the weights belong to the sound."""
    n, found = len(lips), []
    for lag in LAGS:
        early, late = slice(max(0, -lag), n - max(0, lag)), slice(max(0, lag), n - max(0, -lag))
        found.append(_correlation(lips[early], sound[late], weights[late]))
    return max(found)


def _correlation(first: Signal, second: Signal, weights: Signal) -> float:
    """The weighted Pearson correlation; 0 if either is constant."""
    if weights.sum() < 1e-6:
        return 0.0
    first, second = (part - np.average(part, weights=weights) for part in (first, second))
    spread = np.sqrt((weights * first**2).sum() * (weights * second**2).sum())
    return float((weights * first * second).sum() / spread) if spread > 1e-9 else 0.0


SPEAKER: dict[str, Scorer] = {"agreement": agreement}
# Default limits. Measured on two speakers: clips with their own sound score 0.40 to 0.56 in 5 s and at least 0.29 in
# 1.6 s; 85 % of other or shifted sound stays below 0.25 in 5 s, 65 % in 2.4 s.
LEAST = {"agreement": 0.25}


def load_scorer(name: str) -> Scorer:
    """The scorer of that name in `SPEAKER`, or a custom function "package.module:function".

    A custom function has the signature of `agreement`; it may wrap a detector such as Light-ASD. Raises `KeySyncError`
    for an unknown name, a module that fails to load, and an object that is not a function.
    """
    if name in SPEAKER:
        return SPEAKER[name]
    if not is_named(name):
        raise KeySyncError(
            f"unknown speaker scorer {name!r}: choose from {', '.join(SPEAKER)}, or name your own as "
            "package.module:function"
        )
    scorer = function_named(name, "speaker scorer", "landmarks and a waveform")
    return cast("Scorer", scorer)
