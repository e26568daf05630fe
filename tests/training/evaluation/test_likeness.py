from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.film import talk_film
from training.evaluation.likeness import likeness, ratio
from training.evaluation.reading import Distance


def test_a_person_is_like_themselves_and_unlike_the_mean_of_others() -> None:
    film = talk_film(0, 2, 27, 96)
    colour, shape = likeness(film.real.frames, film)
    assert colour.own < 1
    assert shape.own < 0.1
    assert colour.others > 5
    assert shape.others > 0.3


def test_another_person_is_as_far_from_this_one_as_others_are() -> None:
    film = talk_film(0, 2, 27, 96)
    shown = film.source.frames.copy()
    shown[film.open_frames] = film.strangers[1].frames
    _, shape = likeness(shown, film)
    assert shape.own > 0.3
    assert ratio([shape]).value > 0.7


def test_ratio_is_that_of_the_sums() -> None:
    found = ratio([Distance(1.0, 2.0), Distance(1.0, 6.0)])
    assert found.value == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((1 / 6, 0.5))
    assert not np.isnan(ratio([Distance(0.0, 0.0)]).value)
