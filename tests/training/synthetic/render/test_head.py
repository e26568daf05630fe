from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.render.head import HeadShape, Motion
from training.synthetic.render.identity import Identity
from training.synthetic.render.mouth import MouthShape, jaw_drop

PERSON = Identity.sample(np.random.default_rng(2))
SHAPE = HeadShape(PERSON)


def test_the_table_of_depths_is_the_surface_that_is_drawn() -> None:
    grid = SHAPE.grid(217, 217)
    x, y, z = np.moveaxis(grid, -1, 0)
    front = (z > 60) & (np.abs(x) < 50) & (y > -50) & (y < 105)

    assert np.abs(SHAPE.depth(x[front], y[front]) - z[front]).max() < 1.5
    assert np.abs(SHAPE.depth(x[front], y[front]) - z[front]).mean() < 0.1


def test_the_nose_stands_out_and_the_eyes_lie_deep() -> None:
    def depth(x: float, y: float) -> float:
        return float(SHAPE.depth(np.array([x]), np.array([y]))[0])

    assert depth(0, 40) > depth(0, 69) + 8
    assert depth(0, 40) > depth(30, 40) + 20
    assert depth(18, -4) < depth(18, -20)


def test_the_chin_follows_the_jaw_and_the_brow_does_not() -> None:
    chin, brow = np.array([0.0, 112.0, 85.0]), np.array([30.0, -20.0, 85.0])
    motion, mouth = Motion(PERSON, np.stack([chin, brow])), MouthShape(open=1)

    moved = motion.move(np.stack([chin, brow]), mouth)

    assert moved[0, 1] - chin[1] == pytest.approx(jaw_drop(PERSON, mouth), rel=0.02)
    assert np.abs(moved[1] - brow).max() < 0.3
    raised = motion.move(np.stack([chin, brow]), MouthShape(), brows=3)
    assert raised[1, 1] < brow[1] - 2


def test_nothing_moves_at_rest() -> None:
    points = SHAPE.grid(55, 55).reshape(-1, 3)

    np.testing.assert_array_equal(Motion(PERSON, points).move(points, MouthShape()), points)
