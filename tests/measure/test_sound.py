from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from keysync.demo import SPEECH
from keysync.measure.listening import listen
from keysync.measure.sound import Sound
from keysync.media.audio import open_sound, read_speech
from keysync.media.source import SoundInMemory
from keysync.method import SAMPLE_RATE
from keysync.speech.lips_curve import LIPS


def sound_of(parts: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Sound:
    return listen(SoundInMemory("speech", np.concatenate(parts)[None], SAMPLE_RATE))


@cache
def said() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return read_speech(SPEECH)[0].numpy()


def test_a_sound_asks_for_an_open_mouth_where_it_speaks() -> None:
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    sound = sound_of([said()[: 2 * SAMPLE_RATE], quiet])
    times = np.arange(80) / 25
    opening = sound.lips_at(times)[:, LIPS.index("opening")]
    assert np.isnan(opening[75:]).all()
    assert opening[:50].max() > 0.5
    assert opening[60:75].max() < 0.1
    loud = sound.loudness_at(times)
    assert loud[:50].max() > 0.9
    assert loud[55:75].max() == 0
    assert not sound.silent


def test_silence_is_where_the_mouth_had_time_to_close() -> None:
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    sound = sound_of([quiet, said()[SAMPLE_RATE // 2 : 2 * SAMPLE_RATE], quiet])
    silent = sound.silent_at(np.arange(100) / 25)
    assert silent[:20].all()
    assert not silent[40:60].any()
    assert silent[68:].all()  # the sound lasts 3.5 s: after it, nothing is said either


def test_a_sound_without_speech_is_silent_throughout() -> None:
    sound = sound_of([np.zeros(SAMPLE_RATE, np.float32)])
    assert sound.silent
    assert sound.silent_at(np.arange(50) / 25).all()
    assert any("silent" in note for note in sound.notes)


def test_the_outline_is_the_amplitude() -> None:
    sound = listen(open_sound(SPEECH))
    assert len(sound.outline) == pytest.approx(sound.seconds * 100, abs=1)
    assert float(sound.outline.max()) == pytest.approx(float(np.abs(said()).max()), abs=1e-6)
