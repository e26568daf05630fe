"""What a feeling does to a face, in its points and pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.synthetic.render.camera import Pose
from training.synthetic.render.feeling import Feeling, feelings
from training.synthetic.render.mouth import MouthShape
from training.synthetic.render.shot import Shot

NEUTRAL = Feeling()


def points(feeling: Feeling, openness: float = 0.0) -> NDArray[np.float64]:
    """The landmarks (68, 2) of one person with a feeling."""
    shot = Shot((3, 4), 1, 128, feelings=(feeling,), liveliness=0.0)
    return np.asarray(shot.landmarks([MouthShape(open=openness)])[0], dtype=np.float64)


@pytest.mark.parametrize("openness", [0.0, 0.5])
def test_valence_moves_the_corners_of_the_mouth(openness: float) -> None:
    happy, sad, neutral = (points(Feeling(valence), openness) for valence in (1.0, -1.0, 0.0))
    corners = [48, 54]
    assert (happy[corners, 1] < neutral[corners, 1] - 1).all()
    assert (sad[corners, 1] > neutral[corners, 1] + 1).all()
    assert happy[54, 0] - happy[48, 0] > sad[54, 0] - sad[48, 0]
    middle = [51, 57, 62, 66]
    np.testing.assert_allclose(happy[middle], neutral[middle], atol=0.5)


def test_displeasure_lowers_the_inner_brows() -> None:
    sad, neutral = points(Feeling(-1.0)), points(NEUTRAL)
    assert (sad[[21, 22], 1] > neutral[[21, 22], 1] + 0.5).all()
    assert sad[22, 0] - sad[21, 0] < neutral[22, 0] - neutral[21, 0]
    np.testing.assert_allclose(sad[[17, 26]], neutral[[17, 26]], atol=0.3)


def test_arousal_raises_the_brows_and_opens_the_eyes() -> None:
    awake, tired = points(Feeling(0.0, 1.0)), points(Feeling(0.0, -1.0))
    assert (awake[17:27, 1] < tired[17:27, 1] - 1).all()
    high = [(37, 41), (38, 40), (43, 47), (44, 46)]
    for upper, lower in high:
        assert awake[lower, 1] - awake[upper, 1] > 1.5 * (tired[lower, 1] - tired[upper, 1])
    np.testing.assert_allclose(awake[48:], tired[48:], atol=0.3)


def test_it_shows_in_the_pixels() -> None:
    def picture(*felt: Feeling) -> NDArray[np.float64]:
        shot = Shot((3, 4), 1, 128, feelings=felt, liveliness=0.0)
        return np.asarray(shot.draw([MouthShape()]).frames[0], dtype=np.float64)

    bare = picture()
    assert np.array_equal(bare, picture(NEUTRAL))
    for feeling in (Feeling(1.0), Feeling(-1.0), Feeling(0.0, 1.0)):
        assert np.abs(picture(feeling) - bare).max() > 40


def test_what_a_pose_already_has_stays() -> None:
    pose = Feeling(-1.0, 0.5).pose(Pose(yaw=0.1, brows=1.0, blink=0.3))
    assert (pose.yaw, pose.blink) == (0.1, 0.3)
    assert pose.brows > 1.0
    assert Feeling(0.5).mouth(MouthShape(open=0.7, wide=0.2)) == MouthShape(open=0.7, wide=0.2, smile=0.5)


def test_curves_reach_everywhere_and_do_not_jump() -> None:
    drawn = [feelings(np.random.default_rng(seed), 200) for seed in range(40)]
    assert drawn[0] == feelings(np.random.default_rng(0), 200)
    table = np.array([[(feeling.valence, feeling.arousal) for feeling in curve] for curve in drawn])
    assert table.shape == (40, 200, 2)
    assert (np.abs(table) <= 1).all()
    assert np.abs(np.diff(table, axis=1)).max() < 0.06
    steady = (np.ptp(table, axis=1) == 0).all(1)
    assert 4 < steady.sum() < 24
    assert table.min() < -0.9
    assert table.max() > 0.9
