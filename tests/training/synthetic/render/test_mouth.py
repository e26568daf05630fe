from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.render.identity import Identity
from training.synthetic.render.mouth import ACROSS, ALONG, Lips, MouthShape, half_width, lip_places, lips

PERSON = Identity.sample(np.random.default_rng(1))


def flat(mouth: MouthShape) -> Lips:
    return lips(PERSON, mouth, np.zeros((2, ACROSS, ALONG)))


def gap(edge: Lips) -> float:
    points = edge.inner_points
    return float(points[6, 1] - points[2, 1])


@pytest.mark.parametrize(
    "shape", [MouthShape(), MouthShape(wide=1), MouthShape(round=1), MouthShape(teeth=1, tongue=1)]
)
def test_the_gap_is_the_opening_and_nothing_else(shape: MouthShape) -> None:
    for share in (0.0, 0.3, 1.0):
        mouth = MouthShape(share, shape.wide, shape.round, shape.teeth, shape.tongue)
        assert gap(flat(mouth)) == pytest.approx(share * PERSON.gape, abs=1e-9)


def test_closed_lips_meet_along_all_of_their_length() -> None:
    edge = flat(MouthShape())

    np.testing.assert_allclose(edge.upper[-1, :, :2], edge.lower[-1, :, :2], atol=1e-9)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_the_upper_lip_lies_above_the_lower(share: float) -> None:
    upper, lower = lip_places(PERSON, MouthShape(share))

    assert (np.diff(upper[:, 1:-1, 1], axis=0) > 0).all()
    assert (upper[-1, 1:-1, 1] < lower[-1, 1:-1, 1]).all()
    assert (np.diff(lower[:, 1:-1, 1], axis=0) < 0).all()


def test_wide_and_round_draw_the_corners_apart_and_together() -> None:
    rest = half_width(PERSON, MouthShape())

    assert half_width(PERSON, MouthShape(wide=1)) > 1.1 * rest
    assert half_width(PERSON, MouthShape(round=1)) < 0.75 * rest


def test_points_go_as_ibug_counts_them() -> None:
    edge = flat(MouthShape(0.6))
    outer, inner = edge.outer_points, edge.inner_points

    assert outer.shape == (12, 3)
    assert inner.shape == (8, 3)
    assert (np.diff(outer[:7, 0]) > 0).all()
    assert (np.diff(outer[6:, 0]) < 0).all()
    assert (np.diff(inner[:5, 0]) > 0).all()
    assert (np.diff(inner[4:, 0]) < 0).all()
    assert (outer[1:6, 1] < outer[[11, 10, 9, 8, 7], 1]).all()
    # All are corners of the drawn contour.
    drawn = {tuple(point) for point in edge.inner_edge.round(9)}
    assert all(tuple(point) in drawn for point in inner.round(9))
