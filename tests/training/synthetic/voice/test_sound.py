from __future__ import annotations

import numpy as np
import pytest

from keysync.correlation import correlation
from keysync.method import SAMPLE_RATE
from training.synthetic.voice.sound import loudness, mouth_from_sound
from training.synthetic.voice.speech import talk


def vowel(first: float, second: float, seconds: float = 0.4) -> np.ndarray:
    """A buzz of 120 Hz through two resonances."""
    from scipy.signal import lfilter

    sound = np.zeros(round(seconds * SAMPLE_RATE))
    sound[:: SAMPLE_RATE // 120] = 1.0
    for hertz in (first, second, 2900.0):
        radius, angle = np.exp(-np.pi * 80 / SAMPLE_RATE), 2 * np.pi * hertz / SAMPLE_RATE
        sound = lfilter([1.0], [1, -2 * radius * np.cos(angle), radius**2], sound)
    loudest = float(np.abs(sound).max())
    return (0.5 * sound / loudest).astype(np.float32)


def test_a_wide_vowel_opens_a_front_one_spreads_and_a_back_one_rounds() -> None:
    gap = np.zeros(round(0.3 * SAMPLE_RATE), np.float32)
    sounds = [vowel(750, 1200), gap, vowel(300, 2250), gap, vowel(300, 750)]
    motion = mouth_from_sound(np.concatenate(sounds), np.array([0.2, 0.55, 0.9, 1.25, 1.6]))
    assert motion.open[0] == max(motion.open) > 0.8
    assert motion.open[[1, 3]] == pytest.approx([0, 0], abs=0.02)
    assert motion.wide[2] > 0.3 > 0.1 > max(motion.wide[[0, 4]])
    assert motion.round[4] > 0.2 > 0.1 > max(motion.round[[0, 2]])


def test_silence_and_what_comes_after_the_end_leave_the_mouth_shut() -> None:
    for sound in (np.zeros(0, np.float32), np.zeros(8000, np.float32), np.full(8000, 1e-5, np.float32)):
        motion = mouth_from_sound(sound, np.linspace(0, 2, 11))
        assert motion.open == pytest.approx(np.zeros(11), abs=1e-6)
        assert loudness(sound, np.linspace(0, 2, 11)) == pytest.approx(np.zeros(11), abs=1e-6)


def test_hiss_shows_teeth_and_opens_little() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 8001)
    hiss = np.diff(np.diff(np.diff(noise))).astype(np.float32) * 0.05
    sound = np.concatenate([vowel(750, 1200), hiss])
    motion = mouth_from_sound(sound, np.array([0.2, 0.6]))
    assert motion.teeth[1] > 0.6 > motion.teeth[0] + 0.2


def test_speech_drives_the_mouth_better_than_its_loudness_does() -> None:
    times = (np.arange(200) + 0.5) / 25
    driven, loud = [], []
    for seed in range(4):
        spoken = talk(seed, 8.0)
        truth = spoken.mouth(times).open
        driven.append(correlation(mouth_from_sound(spoken.waveform, times).open, truth))
        loud.append(correlation(loudness(spoken.waveform, times), truth))
    assert np.mean(driven) > 0.65
    assert np.mean(driven) > np.mean(loud) + 0.01
