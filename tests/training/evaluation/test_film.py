from __future__ import annotations

from itertools import combinations

import numpy as np

from keysync.measure.leak import OPEN
from training.evaluation.film import quiet_film, talk_film
from training.synthetic.measure.metrics import mouth_aspect_ratio
from training.synthetic.voice.sentences import TEST, split_of

SIDE = 96


def test_sentences_are_those_kept_for_tests_and_another_seed_says_others() -> None:
    first, second = talk_film(0, 0, 50, SIDE), talk_film(1, 0, 50, SIDE)
    assert first.said.text != first.spoken.text != second.said.text
    for film in (first, second):
        for text in (film.said.text, film.spoken.text):
            parts = text.replace("?", ".").replace("!", ".").split(". ")
            assert all(split_of(part) == TEST for part in parts)


def test_speech_and_pictures_are_as_long() -> None:
    for film in (talk_film(0, 1, 33, SIDE), quiet_film(0, 1, 33, SIDE)):
        for said in (film.said, film.spoken):
            assert len(said.waveform) == 33 * 640
        assert film.source.frames.shape == (33, SIDE, SIDE, 3)


def test_same_person_in_the_same_place_says_something_else() -> None:
    film = talk_film(0, 2, 27, SIDE)
    np.testing.assert_array_equal(film.real.landmarks, film.real_landmarks)
    np.testing.assert_array_equal(film.real.landmarks[:, 36:48], film.source.landmarks[:, 36:48])
    assert np.abs(film.real.landmarks[:, 48:] - film.source.landmarks[:, 48:]).max() > 1
    brow = int(film.source.landmarks[:, 27, 1].min())
    np.testing.assert_array_equal(film.real.frames[:, :brow], film.source.frames[:, :brow])


def test_strangers_are_others_who_say_the_same() -> None:
    film = talk_film(0, 2, 27, SIDE)
    frames = film.open_frames
    assert (mouth_aspect_ratio(film.real_landmarks)[frames] > OPEN).all()
    people = [film.real.landmarks[frames], *(stranger.landmarks for stranger in film.strangers)]
    assert len(people) == 5
    for one, other in combinations(people, 2):
        assert len(one) == len(other) <= 6
        assert np.abs(one - other).max() > 1
    for stranger in film.strangers:  # before the same backdrop
        np.testing.assert_array_equal(stranger.frames[:, :4, :4], film.real.frames[frames][:, :4, :4])


def test_mouth_rests_in_the_silence_over_somebody_who_talks() -> None:
    film = quiet_film(0, 3, 79, SIDE)
    silent = film.silent
    assert silent.sum() >= 20
    assert not (silent & film.talking).any()
    assert (mouth_aspect_ratio(film.real_landmarks)[silent] < OPEN).all()
    assert np.mean(mouth_aspect_ratio(film.source.landmarks)[silent] > OPEN) >= 0.4
    assert not film.said.waveform[int(1.3 * 16000) : int(1.9 * 16000)].any()


def test_something_crosses_the_mouth_all_the_time_and_can_be_left_away() -> None:
    film = talk_film(0, 4, 20, SIDE, "hand")
    assert film.source.occluder.any((1, 2)).mean() > 0.7
    assert not film.real.occluder.any()
