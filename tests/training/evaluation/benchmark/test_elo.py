from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.benchmark.elo import Vote, elo, ratings


def votes(won: int, lost: int, left: str = "a", right: str = "b") -> list[Vote]:
    return [Vote("cross-sync", left, right, 1.0)] * won + [Vote("cross-sync", left, right, 0.0)] * lost


def test_ten_to_one_are_400_points() -> None:
    found = ratings(np.array([[0, 1000.0], [100, 0]]))
    assert found[0] - found[1] == pytest.approx(400, abs=0.1)
    assert found.mean() == pytest.approx(1000)


def test_systems_that_never_met_are_rated_by_those_that_they_met() -> None:
    """Of a, b and c, b beat a as often as c beat b: the steps are equal."""
    found = ratings(np.array([[0, 10.0, 0], [30, 0, 10], [0, 30, 0]]))
    assert found[1] - found[0] == pytest.approx(found[2] - found[1], abs=0.01)


def test_better_systems_are_rated_higher_within_an_interval() -> None:
    found = elo(votes(30, 10))
    assert found["a"].value > 1050 > 950 > found["b"].value
    assert found["a"].low < found["a"].value < found["a"].high
    many = elo(votes(300, 100))
    assert many["a"].high - many["a"].low < found["a"].high - found["a"].low


def test_order_and_sides_do_not_matter() -> None:
    one = elo([*votes(3, 1), *votes(2, 2, "b", "c")])
    again = elo([*votes(2, 2, "c", "b"), *votes(1, 3, "b", "a")])
    assert {name: round(found.value, 3) for name, found in one.items()} == {
        name: round(found.value, 3) for name, found in again.items()
    }


def test_who_never_lost_has_a_finite_rating_and_equals_are_equal() -> None:
    assert np.isfinite(elo(votes(5, 0))["a"].high)
    tied = elo([Vote("cross-sync", "a", "b", 0.5)] * 4)
    assert tied["a"].value == pytest.approx(1000)
    assert elo([]) == {}
