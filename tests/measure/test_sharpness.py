from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from keysync.measure.sharpness import LIPS, alike, mouth_sharpness


def mesh(left: float = 40, top: float = 50) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    points = np.zeros((468, 3))
    angle = np.linspace(0, 2 * np.pi, len(LIPS), endpoint=False)
    points[list(LIPS), 0], points[list(LIPS), 1] = left + 20 * np.cos(angle), top + 10 * np.sin(angle)
    return points


def test_a_blurred_mouth_is_less_sharp_and_the_rest_does_not_count() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (100, 80, 3), np.uint8)
    sharp = mouth_sharpness(frame, mesh())
    assert mouth_sharpness(gaussian_filter(frame, (1, 1, 0)), mesh()) < 0.2 * sharp
    elsewhere = frame.copy()
    elsewhere[:30] = elsewhere[70:] = 0
    assert mouth_sharpness(elsewhere, mesh()) == sharp


def test_a_mouth_that_the_frame_cuts_off_has_no_sharpness() -> None:
    assert np.isnan(mouth_sharpness(np.zeros((100, 80, 3), np.uint8), mesh(left=15)))


def test_frames_with_the_same_opening_are_compared() -> None:
    openings, sharp = np.array([0.0, 0.1, 0.2, 0.3]), np.array([10.0, 20.0, 30.0, 40.0])
    made = np.array([0.205, 0.0, np.nan, 0.9]), np.array([15.0, 5.0, 7.0, 99.0])
    assert alike(made, (openings, sharp)) == pytest.approx((20.0, 40.0))
    order = np.array([2, 0, 3, 1])
    assert alike(made, (openings[order], sharp[order])) == pytest.approx((20.0, 40.0))
    assert alike((np.array([np.nan]), np.array([1.0])), (openings, sharp)) == (0.0, 0.0)
