"""How far a head is turned: read back from a mean face that is turned, whatever its roll, pitch, size and place."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.face.pose import PLACES, yaws
from keysync.face.track import FURTHEST_YAW, TURNED, Tracker
from training.synthetic.render.camera import Pose


def head(yaw: float, pitch: float = 0.0, roll: float = 0.0, size: float = 1.0) -> NDArray[np.float32]:
    """Points (68, 2) of a mean face in pixels; those that do not matter are at its middle. Angles in degrees."""
    pose = Pose(*np.radians([yaw, pitch, roll]))
    points = np.zeros((68, 3))
    points[list(PLACES)] = list(PLACES.values())
    flat: NDArray[np.float32] = (size * (points @ pose.head.T)[:, :2] + (200, 150)).astype(np.float32)
    return flat


@pytest.mark.parametrize("yaw", [0, 20, 45, 60, 75, 90, 120])
@pytest.mark.parametrize(("pitch", "roll", "size"), [(0, 0, 1), (30, 0, 0.3), (-20, 40, 2), (0, -100, 1)])
def test_yaw_is_read_back_in_any_pose(yaw: float, pitch: float, roll: float, size: float) -> None:
    both = np.stack([head(yaw, pitch, roll, size), head(-yaw, pitch, roll, size)])
    assert yaws(both) == pytest.approx([yaw, yaw], abs=0.5)


def test_points_of_nan_have_no_yaw() -> None:
    assert np.isnan(yaws(np.full((2, 68, 2), np.nan))).all()


@pytest.mark.parametrize(("yaw", "turned"), [(FURTHEST_YAW - 3, False), (FURTHEST_YAW + 3, True)])
def test_a_profile_passes_through_and_the_reason_says_so(yaw: float, turned: bool) -> None:
    from keysync.face.face import Face

    tracker = Tracker()
    for _ in range(3):
        tracker.add(np.zeros((300, 400, 3), np.uint8), [Face.of(head(yaw), 0.9)])
    track = tracker.finish()
    assert track.turned.tolist() == [turned] * 3
    assert track.found.tolist() == [not turned] * 3
    if turned:
        assert track.why_not(0) == f"the head is {TURNED}"
