from __future__ import annotations

import numpy as np
import pytest

from keysync.measure.leak import OPEN, THRESHOLDS, lipleak, threshold_curve


def test_lipleak_is_the_share_of_open_frames_of_those_seen() -> None:
    ratios = np.array([0.0, 0.24, 0.26, 0.4, np.nan])
    assert lipleak(ratios) == pytest.approx(0.5)
    assert lipleak(ratios, 0.3) == pytest.approx(0.25)
    assert lipleak(np.array([np.nan])) is None


def test_the_curve_falls_through_the_figure() -> None:
    ratios = np.random.default_rng(0).uniform(0, 0.8, 500)
    curve = threshold_curve(ratios)
    assert (np.diff(curve) <= 0).all()
    assert np.interp(OPEN, THRESHOLDS, curve) == pytest.approx(lipleak(ratios), abs=0.02)
    assert curve[-1] == 0
    assert threshold_curve(np.array([])) == []
