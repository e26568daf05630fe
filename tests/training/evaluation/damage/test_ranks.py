from __future__ import annotations

import pytest

from training.evaluation.damage.ranks import TOLD, lines, rank, spearman


def test_rank_correlation_is_of_the_order_alone() -> None:
    assert spearman([0, 1, 2, 3], [1, 10, 11, 500]) == pytest.approx(1)
    assert spearman([0, 1, 2, 3], [9, 5, 2, -1]) == pytest.approx(-1)
    assert spearman([0, 1, 2, 3], [4, 4, 4, 4]) == 0
    assert spearman([0, 0, 1, 1], [1, 1, 2, 2]) == pytest.approx(1)
    assert 0 < spearman([0, 1, 2, 3], [1, 3, 2, 4]) < 1


def test_a_figure_that_falls_with_the_damage_ranks_it_where_it_should_fall() -> None:
    falling = [[0.9, 0.5, 0.1], [0.4, 0.3, 0.2]]
    found = rank("correlation", "frozen", -1, [0, 0.5, 1], falling)
    assert found.within == pytest.approx(1)
    assert found.pooled < 1  # the clips differ more than the dubs
    assert found.holds
    assert found.means == pytest.approx((0.65, 0.4, 0.15))
    assert not rank("correlation", "frozen", 1, [0, 0.5, 1], falling).holds


def test_what_could_not_be_measured_is_the_worst() -> None:
    found = rank("correlation", "frozen", -1, [0, 0.5, 1], [[0.9, 0.5, None]])
    assert found.within > 0.8
    assert rank("correlation", "frozen", -1, [0, 0.5, 1], [[None, 0.5, 0.1]]).within < 0.9
    assert rank("correlation", "frozen", -1, [0, 0.5, 1], [[None] * 3]).within == 0


def test_figures_that_fail_are_named() -> None:
    good, bad = (rank("seam", "tinted", sign, [0, 1, 2], [[1.0, 2.0, 3.0]]) for sign in (1, -1))
    assert lines([good], {"tinted": "colour shift"})[-1] == "Below 0.9: none."
    made = lines([good, bad], {"tinted": "colour shift"})
    assert made[2] == "| `seam` | colour shift | 1.00 | 1.00 | 0: 1, 1: 2, 2: 3 |"
    assert made[-1] == "Below 0.9: `seam` (colour shift)."
    assert len(TOLD) == len(set(TOLD))
