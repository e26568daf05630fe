"""Simulates a room and a microphone: echo, noise, colour, band limits and level; and the tempo.

All effects are applied to the spectrum of the whole sound. A faster tempo also raises pitch and formants, as in a sound
played faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from keysync.method import SAMPLE_RATE

Array = NDArray[np.float64]
Spectrum = NDArray[np.complex128]
Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Microphone:
    """The conditions of a recording. `noise`: None, or the exponent of the fall of its power with frequency (0: white).

    `babble`: number of background voices. `snr` in dB of noise and babble together. `echo`: reverberation time (60 dB)
    in seconds, 0 for none; `direct`: level of the direct sound over the echo in dB. `low`, `high`: pass band in Hz.
    `colour`: dB at octaves from 125 Hz. `gain` in dB; samples beyond 1 are clipped.
    """

    noise: float | None = None
    babble: int = 0
    snr: float = 40.0
    echo: float = 0.0
    direct: float = 6.0
    low: float = 0.0
    high: float = SAMPLE_RATE / 2
    colour: tuple[float, ...] = (0.0,) * 7
    gain: float = 0.0
    seed: int = 0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Microphone:
        """Random conditions; one in three changes only the level."""
        seed, gain = int(rng.integers(1 << 30)), float(rng.uniform(-20, 6))
        if rng.random() < 1 / 3:
            return cls(gain=gain, seed=seed)
        echoing = rng.random() < 0.35
        kind = rng.random()
        return cls(
            noise=float(rng.uniform(0, 2)) if kind < 0.65 else None,
            babble=int(rng.integers(2, 7)) if 0.5 < kind < 0.8 else 0,
            snr=float(rng.uniform(5, 40)),
            echo=float(rng.uniform(0.1, 0.7)) if echoing else 0.0,
            direct=float(rng.uniform(-2, 12)),
            low=float(rng.uniform(50, 300)) if rng.random() < 0.4 else 0.0,
            high=float(rng.uniform(3200, 8000)) if rng.random() < 0.4 else SAMPLE_RATE / 2,
            colour=tuple((rng.normal(0, 4, 7) if rng.random() < 0.7 else np.zeros(7)).tolist()),
            gain=gain,
            seed=seed,
        )

    def hear(self, sound: Sound, length: int, voices: Callable[[int], Sound] | None = None) -> Sound:
        """A sound (n,) at 16 kHz as (length,) samples, n / length times as fast; echo wraps from the end to the start.

        `voices(m)` returns (m,) samples of other speech for the babble.
        """
        rng = np.random.default_rng(self.seed)
        spectrum = _spectrum(sound, length)
        level = _level(sound)
        if self.echo:
            spectrum *= rfft(_echo(rng, self.echo, self.direct), length)
        noise = np.zeros_like(spectrum)
        if self.noise is not None:
            noise += _scaled(_noise(rng, length, self.noise), length)
        if self.babble and voices:
            crowd = sum(
                (voices(length) * rng.uniform(0.3, 1) for _ in range(self.babble)), np.zeros(length, np.float32)
            )
            noise += _scaled(rfft(crowd.astype(np.float64)), length)
        # In silence, the noise has the level for a voice of ordinary level.
        spectrum += _scaled(noise, length) * ((level or 0.1) * 10 ** (-self.snr / 20))
        heard = irfft(spectrum * self._response(length), length) * 10 ** (self.gain / 20)
        cut: Sound = np.clip(heard, -1, 1).astype(np.float32)
        return cut

    def _response(self, length: int) -> Array:
        hertz = np.arange(length // 2 + 1) * (SAMPLE_RATE / length)
        octave = np.log2(np.maximum(hertz, 1) / 125)
        response: Array = 10 ** (np.interp(octave, np.arange(len(self.colour)), self.colour) / 20)
        if self.low:
            response = response / np.sqrt(1 + (self.low / np.maximum(hertz, 1)) ** 4)
        if self.high < SAMPLE_RATE / 2:
            response = response / np.sqrt(1 + (hertz / self.high) ** 16)
        return response


def fast_length(length: float) -> int:
    """The next number of samples with a fast Fourier transform."""
    return int(next_fast_len(round(length), real=True))


def _spectrum(sound: Sound, length: int) -> Spectrum:
    """The spectrum of the sound resampled to `length` samples."""
    whole = rfft(sound.astype(np.float64)) * (length / len(sound))
    spectrum = np.zeros(length // 2 + 1, np.complex128)
    shared = min(len(whole), len(spectrum))
    spectrum[:shared] = whole[:shared]
    return spectrum


def _level(sound: Sound) -> float:
    """Root mean square of the samples that are not silent."""
    loud = np.abs(sound) > 1e-3
    return float(np.sqrt(np.mean(np.square(sound[loud], dtype=np.float64)))) if loud.any() else 0.0


def _echo(rng: np.random.Generator, seconds: float, direct: float) -> Array:
    """The impulse response of a room: the direct sound, then decaying noise."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(times)) * np.exp(-6.9 * times / seconds) * (times > 0.002)
    response: Array = tail * (10 ** (-direct / 20) / np.sqrt((tail**2).sum()))
    response[0] = 1.0
    return response


def _noise(rng: np.random.Generator, length: int, power: float) -> Spectrum:
    """Noise whose power falls with frequency with this exponent; constant below 50 Hz."""
    bins = np.arange(length // 2 + 1)
    hertz = np.maximum(bins * (SAMPLE_RATE / length), 50)
    drawn: Spectrum = (rng.standard_normal(len(bins)) + 1j * rng.standard_normal(len(bins))) * hertz ** (-power / 2)
    return drawn


def _scaled(spectrum: Spectrum, length: int) -> Spectrum:
    """A spectrum scaled to a root mean square of 1 in time, unless it is zero."""
    power = 2 * float((np.abs(spectrum) ** 2).sum()) / length**2
    return spectrum / np.sqrt(power) if power else spectrum
