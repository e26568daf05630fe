from __future__ import annotations

import numpy as np
import pytest

from keysync.correlation import correlation, slope


def test_slope_is_how_far_the_mouth_opens_and_not_how_well_it_follows() -> None:
    truth = np.random.default_rng(0).uniform(0, 1, 80)
    assert slope(0.4 * truth + 0.2, truth) == pytest.approx(0.4)
    assert correlation(0.4 * truth + 0.2, truth) == pytest.approx(1.0)
    assert correlation(-truth, truth) == pytest.approx(-1.0)


def test_curves_that_do_not_change_go_with_nothing() -> None:
    truth = np.random.default_rng(0).uniform(0, 1, 80)
    assert correlation(np.full(80, 0.3), truth) == 0.0
    assert slope(truth, np.full(80, 0.3)) == 0.0
    assert correlation(np.empty(0), np.empty(0)) == 0.0
