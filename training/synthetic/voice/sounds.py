"""Sounds other than speech with known articulation: laughs and sighs, and talk with one of them between its words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import butter, lfilter

from keysync.method import SAMPLE_RATE

from .speech import Utterance, Voice, joined, say, silence
from .visemes import Phoneme

# What espeak-ng reads as laughter, fast and high.
LAUGHS = ("ha ha ha ha", "ha ha ha ha ha ha", "he he he he he", "ho ho ho ho")
LAUGHING_RATE, HIGHER = 240, 20  # words per minute; steps of pitch above the voice's own
BREATH = "h"
SIGH = (0.6, 1.3)  # seconds
BREATH_BAND = (300.0, 3500.0)  # Hz
AROUND = 0.15  # seconds of silence before and after


def laugh(rng: np.random.Generator, voice: Voice) -> Utterance:
    """A laugh in a voice. Raises `KeySyncError` without espeak-ng."""
    laughing = replace(voice, rate=LAUGHING_RATE, pitch=min(voice.pitch + HIGHER, 99))
    return _apart(say(str(rng.choice(LAUGHS)), laughing))


def sigh(rng: np.random.Generator, loudness: float = 0.3) -> Utterance:
    """A sigh: breath that swells and fades, through an open mouth. `loudness` is its peak amplitude."""
    seconds = float(rng.uniform(*SIGH))
    count = round(seconds * SAMPLE_RATE)
    b, a = butter(2, BREATH_BAND, "bandpass", fs=SAMPLE_RATE)
    place = np.linspace(0, 1, count)
    breath = lfilter(b, a, rng.normal(size=count)) * np.sin(np.pi * place**0.6) ** 1.5
    waveform = (breath * (loudness / np.abs(breath).max())).astype(np.float32)
    return _apart(Utterance("", waveform, (Phoneme(BREATH, 0.0, count / SAMPLE_RATE),)))


def with_sound(said: Utterance, sound: Utterance) -> Utterance:
    """Talk with a sound in the pause that is nearest to its middle, as long as before."""
    middles = [(start + stop) / 2 for start, stop in said.pauses(0.1)]
    where = min(middles, key=lambda middle: abs(middle - said.seconds / 2), default=said.seconds / 2)
    return joined([said.cut(0, where), sound, said.cut(where, said.seconds)]).cut(0, said.seconds)


def _apart(sound: Utterance) -> Utterance:
    return joined([silence(AROUND), sound, silence(AROUND)])
