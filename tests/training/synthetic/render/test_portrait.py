from __future__ import annotations

import numpy as np
import pytest

from keysync.face.face import Points
from training.synthetic.render.camera import Pose
from training.synthetic.render.identity import Identity
from training.synthetic.render.mouth import MouthShape
from training.synthetic.render.portrait import Portrait
from training.synthetic.render.scene import Truth
from training.synthetic.render.shot import render

OPEN = MouthShape(open=0.7, teeth=0.4)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return Portrait(Identity.sample(np.random.default_rng(1)))


def polygon(points: Points, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose middles lie in a polygon, by the crossings to their right."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def mar(truth: Truth) -> float:
    return truth.opening / truth.width


@pytest.mark.parametrize("yaw", [-0.3, 0.0, 0.3])
def test_the_inner_lips_are_where_the_dark_of_the_mouth_is(portrait: Portrait, yaw: float) -> None:
    pose, dark = Pose(yaw=yaw), MouthShape(open=0.8, teeth=0.0)
    truth, size = render(portrait, pose, dark, (512, 512)), (512, 512)
    brightness = truth.picture.mean(-1)

    inside = polygon(truth.landmarks[60:68], size)
    lips = polygon(truth.landmarks[48:60], size) & ~inside

    assert np.median(brightness[inside]) < 0.7 * np.median(brightness[lips])
    # The octagon of the points lies inside the drawn opening and nearly fills it.
    dark_there = brightness < (np.median(brightness[inside]) + np.median(brightness[lips])) / 2
    assert dark_there[inside].mean() > 0.75


@pytest.mark.parametrize(("yaw", "share"), [(-0.3, 0.8), (0.0, 0.3), (0.3, 0.8)])
def test_the_drawn_opening_ends_at_the_inner_lips(portrait: Portrait, yaw: float, share: float) -> None:
    shapes = (MouthShape(open=share, teeth=0.0), MouthShape(open=share, teeth=1.0, tongue=1.0))
    first, second = (render(portrait, Pose(yaw=yaw), shape, (512, 512)) for shape in shapes)

    # Teeth and tongue change pixels between the lips alone, and nearly all of them.
    changed = np.abs(second.picture.astype(int) - first.picture).max(-1) > 3
    points, columns = first.landmarks, np.flatnonzero(changed.any(0))
    x = int(points[62, 0])
    rows = np.flatnonzero(changed[:, x - 1 : x + 2].any(1))

    assert rows.min() == pytest.approx(points[62, 1], abs=2.5)
    assert rows.max() + 1 == pytest.approx(points[66, 1], abs=2.5)
    assert columns.min() == pytest.approx(points[60, 0], abs=4)
    assert columns.max() + 1 == pytest.approx(points[64, 0], abs=4)


def test_the_opening_is_proportional_and_reaches_a_talking_mouth_s() -> None:
    for seed in range(4):
        portrait = Portrait(Identity.sample(np.random.default_rng(seed)))
        truths = [render(portrait, Pose(), MouthShape(open=share)) for share in (0.0, 0.25, 0.5, 1.0)]
        openings = np.array([truth.opening for truth in truths])

        np.testing.assert_allclose(openings / openings[-1], (0, 0.25, 0.5, 1.0), atol=0.02)
        assert mar(truths[0]) < 0.02
        assert mar(truths[-1]) > 0.45
        assert mar(truths[2]) > 0.23


def test_what_does_not_speak_stays_as_it_is(portrait: Portrait) -> None:
    shut, spoken = render(portrait, Pose(yaw=0.1), MouthShape()), render(portrait, Pose(yaw=0.1), OPEN)

    above = int(shut.landmarks[27, 1])
    np.testing.assert_array_equal(shut.picture[:above], spoken.picture[:above])
    np.testing.assert_allclose(shut.landmarks[17:31], spoken.landmarks[17:31], atol=0.1)
    np.testing.assert_allclose(shut.landmarks[36:48], spoken.landmarks[36:48], atol=1e-4)
    assert spoken.landmarks[8, 1] > shut.landmarks[8, 1] + 3
    # Cheeks and jaw move with the mouth.
    assert (np.abs(shut.picture.astype(int) - spoken.picture).max(-1) > 12)[above:].mean() > 0.03


def test_points_follow_the_pose(portrait: Portrait) -> None:
    front, left, down, tilted = (
        render(portrait, pose, OPEN).landmarks for pose in (Pose(), Pose(yaw=0.3), Pose(pitch=0.2), Pose(roll=0.2))
    )

    assert left[30, 0] > front[30, 0] + 5
    assert down[30, 1] > front[30, 1] + 3
    eyes = tilted[42:48].mean(0) - tilted[36:42].mean(0)
    assert np.arctan2(eyes[1], eyes[0]) == pytest.approx(0.2, abs=0.02)


def test_points_scale_with_the_picture(portrait: Portrait) -> None:
    small, large = (render(portrait, Pose(), OPEN, size).landmarks for size in ((128, 128), (512, 512)))

    np.testing.assert_allclose(4 * small, large, atol=0.01)


def test_a_blink_shuts_the_eyes(portrait: Portrait) -> None:
    def height(pose: Pose) -> float:
        points = render(portrait, pose, MouthShape()).landmarks
        return float(np.linalg.norm(points[[37, 38, 43, 44]] - points[[41, 40, 47, 46]], axis=1).mean())

    assert height(Pose(blink=1)) < 0.15 * height(Pose())


def test_the_face_is_all_of_the_68_points_in_order(portrait: Portrait) -> None:
    points = render(portrait, Pose(), MouthShape()).landmarks

    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    assert (np.diff(points[:17, 0]) > 0).all()
    assert (np.diff(points[17:27, 0]) > 0).all()
    assert (np.diff(points[27:31, 1]) > 0).all()
    assert (np.diff(points[31:36, 0]) > 0).all()
    brow, eye, nose, lips, chin = (points[part, 1].mean() for part in (range(17, 27), range(36, 48), [33], [62], [8]))
    assert brow < eye < nose < lips < chin
    assert 0.3 < np.ptp(points[:, 1]) / 256 < 0.6
