"""A lips curve as a value: what it refuses, and what each edit does to it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync import KeySyncError
from keysync.speech.lips_curve import LIPS, LipsCurve

OPENING, WIDTH = LIPS.index("opening"), LIPS.index("width")


def waves(frames: int = 50, fps: float = 25.0) -> LipsCurve:
    """Channels that differ: opening, jaw and teeth 0 to 1, width and roundness -1 to 1, each at its own pace."""
    times = np.arange(frames) / fps
    rows = [np.sin(2 * np.pi * times * (1 + number / 4) + number) for number in range(len(LIPS))]
    values = np.stack(rows, 1).astype(np.float32)
    for name in ("opening", "jaw", "teeth"):
        values[:, LIPS.index(name)] = values[:, LIPS.index(name)] / 2 + 0.5
    return LipsCurve(values, fps)


@pytest.mark.parametrize(
    ("values", "fps", "message"),
    [
        (np.zeros((4, 3), np.float32), 25.0, r"shape \[4, 3\]: expected one or more frames of 5 values"),
        (np.zeros((0, 5), np.float32), 25.0, r"shape \[0, 5\]"),
        (np.array([[0.0] * 5, [np.nan] * 5], np.float32), 25.0, "not finite, first in frame 1"),
        (np.zeros((4, 5), np.float32), 0.0, "frame rate of 0.0: expected a positive number"),
        (np.zeros((4, 5), np.float32), float("nan"), "frame rate of nan"),
    ],
)
def test_what_is_no_curve(values: NDArray[np.float32], fps: float, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        LipsCurve(values, fps)


def test_values_at_times_are_those_of_frames_or_between_them() -> None:
    curve = waves(fps=29.97)
    frames = np.arange(len(curve.values))
    assert np.array_equal(curve.at(frames / 29.97), curve.values)
    between = curve.at((frames[:-1] + 0.5) / 29.97)
    np.testing.assert_allclose(between, (curve.values[:-1] + curve.values[1:]) / 2, atol=1e-6)
    assert np.array_equal(curve.at(np.array([-1.0, 99.0])), curve.values[[0, -1]])


def test_frames_beyond_the_end_are_an_error() -> None:
    curve = waves(10)
    curve.want_frames(10)
    with pytest.raises(KeySyncError, match="covers 10 frames but there are 11"):
        curve.want_frames(11)


def test_strength_scales_opening_and_width_by_themselves() -> None:
    curve = waves()
    edited = curve.strengthened(2, 0.5).values / curve.values
    assert [float(np.median(column).round(4)) for column in edited.T] == [2, 0.5, 0.5, 2, 2]


def test_a_mouth_that_opens_little_closes() -> None:
    curve = waves()
    edited = curve.closed_below(0.3)
    opening = curve.values[:, OPENING]
    assert (edited.values[opening <= 0.3, OPENING] == 0).all()
    assert np.array_equal(edited.values[opening >= 0.6], curve.values[opening >= 0.6])
    assert np.array_equal(edited.values[:, WIDTH], curve.values[:, WIDTH])
    # No jump where it begins to open.
    line = np.zeros((1001, 5), np.float32)
    line[:, OPENING] = np.linspace(0, 1, 1001)
    assert np.diff(LipsCurve(line, 25.0).closed_below(0.3).values[:, OPENING]).max() < 0.005
    assert curve.closed_below(0) is curve


def test_smoothing_keeps_the_mean_and_spreads_a_spike() -> None:
    spike = np.zeros((41, 5), np.float32)
    spike[20] = 1
    smooth = LipsCurve(spike, 25.0).smoothed(2).values
    np.testing.assert_allclose(smooth.sum(0), 1, atol=1e-5)
    frames = np.arange(41)
    deviation = np.sqrt(((frames - 20) ** 2 * smooth[:, 0]).sum())
    assert abs(deviation - 2) < 0.05
    still = LipsCurve(np.ones((5, 5), np.float32), 25.0)
    np.testing.assert_allclose(still.smoothed(4).values, 1, atol=1e-6)
    assert still.smoothed(0) is still


def test_a_range_of_frames_is_held() -> None:
    curve = waves()
    edited = curve.held(10, 5)
    assert (edited.values[10:15] == curve.values[10]).all()
    outside = np.r_[0:10, 15:50]
    assert np.array_equal(edited.values[outside], curve.values[outside])
    assert curve.held(60, 0) is curve
    with pytest.raises(KeySyncError, match="frames 48 to 52 are to be held but the lips curve has 50"):
        curve.held(48, 5)


def test_shifts_are_late_or_early_by_parts_of_frames() -> None:
    curve = waves()
    assert np.array_equal(curve.shifted(3).values[3:], curve.values[:-3])
    assert np.array_equal(curve.shifted(-2).values[:-2], curve.values[2:])
    half = curve.shifted(0.5).values[1:]
    np.testing.assert_allclose(half, (curve.values[1:] + curve.values[:-1]) / 2, atol=1e-6)
    assert np.array_equal(curve.shifted(3).values[:3], curve.values[[0, 0, 0]])


def test_edits_leave_the_curve_alone() -> None:
    curve = waves()
    before = curve.values.copy()
    curve.strengthened(2, 2).closed_below(0.5).smoothed(1).held(0, 5).shifted(1)
    assert np.array_equal(curve.values, before)
