from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.measure.lag import find_lag

Row = NDArray[np.float64]


def speech(frames: int, seed: int = 0) -> Row:
    """A curve that moves like a mouth."""
    noise = np.random.default_rng(seed).uniform(0, 1, frames + 4)
    return np.convolve(noise, np.ones(5) / 5, "valid")


@pytest.mark.parametrize("late", [-8, -1, 0, 3, 8])
def test_a_late_mouth_has_a_positive_lag_and_a_sure_one(late: int) -> None:
    whole = speech(140)
    mouth, said = whole[20 - late : 120 - late], whole[20:120]
    lag = find_lag([mouth + np.random.default_rng(1).normal(0, 0.03, 100)], [said], 25.0)
    assert lag is not None
    assert lag.frames == late
    assert lag.confidence > 0.95
    assert lag.at(late) == pytest.approx(lag.scores.max())
    assert lag.at(late) > 0.9


def test_a_mouth_that_follows_other_speech_has_no_sure_lag() -> None:
    found = [find_lag([speech(80, seed)], [speech(80, seed + 100)], 25.0) for seed in range(8)]
    sure = [lag.confidence for lag in found if lag is not None]
    assert len(sure) == 8
    assert np.mean(sure) < 0.7
    assert max(sure) < 0.9
    assert max(lag.scores.max() for lag in found if lag is not None) < 0.8


def test_frames_without_a_mouth_are_left_out() -> None:
    whole = speech(120)
    mouth, said = whole[10:110].copy(), whole[13:113].copy()
    mouth[30:50], said[90:] = np.nan, np.nan
    lag = find_lag([mouth], [said], 25.0)
    assert lag is not None
    assert lag.frames == 3
    assert lag.at(3) == pytest.approx(1.0)


def test_several_curves_of_a_mouth_count_alike() -> None:
    whole, noise = speech(140), np.random.default_rng(0)
    said = whole[20:120]
    mouths = [whole[16:116] + noise.normal(0, 0.1, 100), -whole[16:116] + noise.normal(0, 0.1, 100)]
    lag = find_lag(mouths, [said, -said], 25.0)
    assert lag is not None
    assert lag.frames == 4


def test_the_reach_and_the_windows_are_seconds() -> None:
    whole = np.repeat(speech(140), 2)
    lag = find_lag([whole[40 - 16 : 240 - 16]], [whole[40:240]], 50.0)
    assert lag is not None
    assert lag.frames == 16
    assert lag.lags[-1] == 30


def test_too_little_tells_nothing() -> None:
    row = speech(24)
    assert find_lag([row], [row], 25.0) is None
    assert find_lag([np.full(80, np.nan)], [speech(80)], 25.0) is None
    assert find_lag([np.full(80, 0.3)], [speech(80)], 25.0) is None
