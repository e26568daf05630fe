"""Heads to animate: held out, the same for a seed, and true to what is asked."""

from __future__ import annotations

import numpy as np

from training.evaluation.heads.film import SOUNDS, lasting, talking


def test_a_film_is_its_seed() -> None:
    first, again, other = (talking(seed, 0, 20, 32, 1.6) for seed in (0, 0, 1))
    assert np.array_equal(first.asked, again.asked)
    assert np.array_equal(first.said.waveform, again.said.waveform)
    assert not np.array_equal(first.asked, other.asked)
    assert first.frames == 20
    assert len(first.said.waveform) == 20 * 640


def test_the_truth_shows_what_is_asked() -> None:
    film = talking(0, 1, 16, 32, 1.6)
    assert film.crops.shape == (16, 32, 32, 3)
    assert film.opening.shape == (16,)
    assert film.opening.max() > film.opening.min()
    assert film.portrait.emotion.tolist() == [[0.0, 0.0]]
    assert not np.array_equal(film.portrait.pictures.frames[0], film.true(1).pictures.frames[0])
    np.testing.assert_allclose(film.true(3).emotion, film.asked[:3], atol=1e-6)


def test_sounds_take_turns() -> None:
    assert [talking(0, number, 75, 32, 1.6).sound for number in range(3)] == list(SOUNDS)


def test_a_long_film_keeps_its_emotion() -> None:
    film = lasting(0, 60, 32, 1.6)
    assert film.frames == 60
    assert np.ptp(film.asked, axis=0).max() == 0
    assert film.true(5).pictures.frames.shape[0] == 5
