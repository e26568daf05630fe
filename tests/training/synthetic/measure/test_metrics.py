from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from keysync.errors import KeySyncError
from tests.synthetic_face import face_points
from training.synthetic.measure.metrics import (
    Estimate,
    jitter,
    lip_leak,
    mean_of,
    mouth_aspect_ratio,
    pixel_jitter,
    sync,
)


def curves(clips: int, frames: int = 80) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = np.ones(5) / 5
    return [np.convolve(rng.uniform(0, 1, frames + 4), smooth, "valid") for _ in range(clips)]


def test_a_mouth_that_follows_exactly_correlates_1_with_slope_1_and_no_lag() -> None:
    truth = curves(6)
    found = sync(truth, truth)
    assert astuple(found.correlation) == pytest.approx((1.0, 1.0, 1.0))
    assert astuple(found.slope) == pytest.approx((1.0, 1.0, 1.0))
    assert found.lag == Estimate(0, 0, 0)


def test_lag_is_positive_for_a_mouth_that_comes_too_late() -> None:
    truth = curves(6)
    late = [np.roll(curve, 3) for curve in truth]
    early = [np.roll(curve, -2) for curve in truth]
    assert sync(late, truth).lag.value == 3
    assert sync(early, truth).lag.value == -2
    assert sync(late, truth).correlation.value < 0.5


def test_interval_covers_the_mean_of_the_population_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    found = [mean_of(rng.normal(1.0, 0.5, 30), seed) for seed in range(60)]
    covered = sum(estimate.low <= 1.0 <= estimate.high for estimate in found)
    assert 50 <= covered < 60
    assert all(0.2 < estimate.high - estimate.low < 0.6 for estimate in found)


def test_bound_holds_only_for_the_whole_interval() -> None:
    assert Estimate(0.9, 0.81, 0.95).within(low=0.8)
    assert not Estimate(0.9, 0.79, 0.95).within(low=0.8)
    assert not Estimate(1.0, 0.8, 1.4).within(0.7, 1.3)


def test_curves_of_different_lengths_are_refused() -> None:
    with pytest.raises(KeySyncError, match="clip 1 has 79 frames read and 80 true ones"):
        sync([np.zeros(80), np.zeros(79)], [np.zeros(80), np.zeros(80)])
    with pytest.raises(KeySyncError, match="no clips"):
        mean_of([])


def test_aspect_ratio_is_the_inner_gap_over_the_inner_width() -> None:
    points = face_points()
    points[60:68] = [(0, 0), (2, -1), (4, -1.5), (6, -1), (8, 0), (6, 1), (4, 1.5), (2, 1)]
    assert mouth_aspect_ratio(points) == pytest.approx((2 + 3 + 2) / 3 / 8)
    points[[61, 62, 63], 1] = points[[67, 66, 65], 1] = 0
    assert mouth_aspect_ratio(points[None]) == pytest.approx([0.0])


def test_lip_leak_is_the_share_of_frames_that_seem_to_speak() -> None:
    found = lip_leak([np.array([0.0, 0.24, 0.26, 0.4]), np.zeros(6)])
    assert found.value == pytest.approx(0.2)
    assert found.low == 0.0
    assert found.high == pytest.approx(0.5)


def test_jitter_is_1_for_real_motion_0_for_a_frozen_mouth_and_large_for_noise() -> None:
    real = curves(5)
    noise = np.random.default_rng(1)
    assert jitter(real, real).value == pytest.approx(1.0)
    assert jitter([np.full(80, 0.5)] * 5, real).value == 0.0
    assert jitter([curve + noise.normal(0, 0.3, 80) for curve in real], real).low > 1.5


def test_jitter_of_pixels_looks_inside_the_mask_only() -> None:
    rng = np.random.default_rng(0)
    real = rng.uniform(0, 1, (6, 8, 8, 3))
    mask = np.zeros((6, 8, 8))
    mask[:, 4:] = 1
    still = real.copy()
    still[:, 4:] = 0.5
    frozen_outside = real.copy()
    frozen_outside[:, :4] = 0.5
    assert pixel_jitter([still], [real], [mask]).value == 0.0
    assert pixel_jitter([frozen_outside], [real], [mask]).value == pytest.approx(1.0)
