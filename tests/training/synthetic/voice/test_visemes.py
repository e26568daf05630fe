# ruff: noqa: RUF001 - phonemes are written in IPA
from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.voice.visemes import PAUSE, Phoneme, mouth_motion, symbols


def spoken(*parts: tuple[str, float]) -> list[Phoneme]:
    edges = np.cumsum([0.0, *(seconds for _, seconds in parts)]).tolist()
    return [Phoneme(name, *edges[number : number + 2]) for number, (name, _) in enumerate(parts)]


def at(phonemes: list[Phoneme], number: int) -> np.ndarray:
    part = phonemes[number]
    return np.linspace(part.start + 0.3 * (part.stop - part.start), part.stop - 0.3 * (part.stop - part.start), 5)


@pytest.mark.parametrize("name", ["p", "b", "m"])
@pytest.mark.parametrize("seconds", [0.03, 0.09])
def test_lips_meet_for_labials_between_open_vowels_at_25_frames_a_second(name: str, seconds: float) -> None:
    phonemes = spoken(("ɑː", 0.15), (name, seconds), ("æ", 0.15))
    for start in np.linspace(0, 0.04, 9):
        motion = mouth_motion(phonemes, np.arange(start, 0.33, 0.04))
        assert motion.open.min() == 0.0
        assert motion.open.max() > 0.7


def test_vowels_differ_as_they_are_seen_to() -> None:
    def middle(name: str) -> np.ndarray:
        phonemes = spoken((PAUSE, 0.3), (name, 0.2), (PAUSE, 0.3))
        shape = mouth_motion(phonemes, np.array([0.4]))[0]
        return np.array([shape.open, shape.wide, shape.round])

    opening, wide, rounded = np.stack([middle(name) for name in ("ɑː", "iː", "uː")], 1)
    assert opening[0] > opening[1] + 0.2 > opening[2] + 0.2
    assert wide[1] > 0.7 > 0.3 > wide[0] > wide[2]
    assert rounded[2] > 0.8 > 0.2 > max(rounded[0], rounded[1])


def test_teeth_are_on_the_lip_for_f_and_the_tongue_is_up_for_l() -> None:
    phonemes = spoken(("ɛ", 0.12), ("f", 0.1), ("ɛ", 0.12), ("l", 0.08), ("ɛ", 0.12))
    lip = mouth_motion(phonemes, at(phonemes, 1))
    assert lip.open.max() < 0.1
    assert lip.teeth.min() > 0.65
    tongue = mouth_motion(phonemes, at(phonemes, 3))
    assert tongue.tongue.max() > 0.5
    assert lip.tongue.max() < 0.1


def test_the_mouth_is_shut_in_pauses_and_outside_speech() -> None:
    phonemes = spoken((PAUSE, 0.5), ("ɑː", 0.2), (PAUSE, 0.6), ("æ", 0.2), ("ŋ", 0.1))
    motion = mouth_motion(phonemes, np.array([-3.0, 0.1, 0.4, 0.85, 1.0, 1.19, 1.75, 9.0]))
    assert motion.open == pytest.approx(np.zeros(8), abs=1e-6)


def test_a_short_pause_between_words_does_not_shut_it() -> None:
    phonemes = spoken(("ɑː", 0.2), (PAUSE, 0.08), ("æ", 0.2))
    assert mouth_motion(phonemes, np.linspace(0.1, 0.4, 31)).open.min() > 0.5


def test_a_short_pause_before_all_speech_or_after_it_shuts_it() -> None:
    phonemes = spoken((PAUSE, 0.12), ("ɑː", 0.2), (PAUSE, 0.14))
    motion = mouth_motion(phonemes, np.array([0.0, 0.02, 0.06, 0.12, 0.32, 0.38, 0.45]))
    assert motion.open[[0, 1, -1]] == pytest.approx(np.zeros(3), abs=1e-6)
    assert 0.1 < motion.open[2] < 0.9 < motion.open[3]  # it opens for what is about to be said
    assert motion.open[4] > 0.9 > motion.open[5] > 0.1


def test_speech_that_is_cut_off_leaves_it_open() -> None:
    assert mouth_motion(spoken(("ɑː", 0.2)), np.array([0.0, 0.2])).open.min() > 0.9


def test_lips_are_rounded_before_the_vowel_that_is_round() -> None:
    phonemes = spoken((PAUSE, 0.3), ("s", 0.12), ("uː", 0.15), (PAUSE, 0.3))
    other = spoken((PAUSE, 0.3), ("s", 0.12), ("iː", 0.15), (PAUSE, 0.3))
    early = np.array([0.37])
    assert mouth_motion(phonemes, early).round[0] > 0.2 > 0.05 > mouth_motion(other, early).round[0]


def test_motion_is_smooth_and_the_same_at_any_frame_rate() -> None:
    phonemes = spoken(*((name, 0.08) for name in ("p", "ɑː", "t", "m", "aɪ", "f", "oʊ", "ɹ", "iː", PAUSE)))
    fine = mouth_motion(phonemes, np.arange(0, 0.9, 0.001))
    for curve in (fine.open, fine.wide, fine.round, fine.teeth, fine.tongue):
        assert np.abs(np.diff(curve)).max() < 0.05
        assert curve.dtype == np.float32
        assert 0 <= curve.min() <= curve.max() <= 1
    assert np.array_equal(mouth_motion(phonemes, np.arange(0, 0.9, 0.025)).open, fine.open[::25])
    assert len(fine) == 900


def test_names_are_taken_apart() -> None:
    assert symbols("tʃ") == ["t", "ʃ"]
    assert symbols("oːɹ") == ["o", "ɹ"]
    assert symbols("n̩") == ["n"]
    assert symbols(PAUSE) == []
    # A diphthong moves from one to the other.
    phonemes = spoken(("aɪ", 0.3))
    motion = mouth_motion(phonemes, np.array([0.07, 0.26]))
    assert motion.open[0] > motion.open[1] + 0.1
    assert motion.wide[1] > motion.wide[0]
