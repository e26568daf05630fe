"""Laughs and sighs: their sound, their mouth, and talk with one of them."""

from __future__ import annotations

import numpy as np

from keysync.method import SAMPLE_RATE
from training.synthetic.voice.sounds import AROUND, laugh, sigh, with_sound
from training.synthetic.voice.speech import Utterance, Voice, talk


def openings(said: Utterance) -> np.ndarray:
    return said.mouth((np.arange(round(said.seconds * 25)) + 0.5) / 25).open


def test_a_laugh_opens_the_mouth_again_and_again() -> None:
    said = laugh(np.random.default_rng(2), Voice())
    opening = openings(said)
    assert opening.max() > 0.5
    loud = np.abs(said.waveform).reshape(-1)[: len(opening) * 640].reshape(-1, 640).max(1)
    assert loud[0] < 0.01 < 0.2 < loud.max()
    assert np.array_equal(said.waveform, laugh(np.random.default_rng(2), Voice()).waveform)


def test_a_sigh_is_breath_through_an_open_mouth() -> None:
    said = sigh(np.random.default_rng(1), loudness=0.2)
    assert 0.6 + 2 * AROUND <= said.seconds <= 1.3 + 2 * AROUND
    assert abs(np.abs(said.waveform).max() - 0.2) < 1e-6
    opening = openings(said)
    assert opening[[0, -1]].max() < 0.1
    assert 0.4 < opening[len(opening) // 2] < 0.7
    spectrum = np.abs(np.fft.rfft(said.waveform)) ** 2
    hertz = np.fft.rfftfreq(len(said.waveform), 1 / SAMPLE_RATE)
    assert spectrum[(hertz > 200) & (hertz < 4500)].sum() > 0.9 * spectrum.sum()


def test_talk_with_a_sound_is_as_long_as_before() -> None:
    said = talk(3, 6.0)
    sound = sigh(np.random.default_rng(1))
    both = with_sound(said, sound)
    assert len(both.waveform) == len(said.waveform)
    assert both.phonemes[-1].stop <= 6.0 + 1e-6
    at = next(p.start for p in both.phonemes if p.name == "h" and p.stop - p.start > 0.5)
    assert 1.5 < at < 4.5
    start = round((at - AROUND) * SAMPLE_RATE)
    np.testing.assert_array_equal(both.waveform[start : start + len(sound.waveform)], sound.waveform)
