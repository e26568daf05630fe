"""The regions that the loss compares, against points where they must and must not be."""

from __future__ import annotations

import torch

from training.flashlips.region import OUTER_LIPS, lips, lower_face

from .samples import SIDE, frames


def test_the_lips_are_inside_the_outer_points() -> None:
    points = frames(2).points
    points[1, OUTER_LIPS] += 5
    found = lips(points, (SIDE, SIDE))
    assert found.shape == (2, 1, SIDE, SIDE)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    for face, region in zip(points, found[:, 0], strict=True):
        x, y = face[OUTER_LIPS].mean(0).round().int().tolist()
        assert region[y, x] == 1
        rows, columns = region.nonzero().T
        outer = face[OUTER_LIPS]
        assert rows.min() >= outer[:, 1].min().floor()
        assert rows.max() <= outer[:, 1].max().ceil()
        assert columns.min() >= outer[:, 0].min().floor()
        assert columns.max() <= outer[:, 0].max().ceil()


def test_lips_that_are_a_square_have_its_area() -> None:
    points = frames().points
    square = [(10, 10), (14, 10), (18, 10), (20, 10), (20, 14), (20, 18), (20, 20)]
    square += [(18, 20), (14, 20), (10, 20), (10, 18), (10, 14)]
    points[0, OUTER_LIPS] = torch.tensor(square).float()
    assert lips(points, (SIDE, SIDE)).sum() == 11 * 11  # both edges are inside


def test_the_lower_face_holds_the_lips_but_not_the_eyes() -> None:
    points = frames().points
    lower = lower_face(points, (SIDE, SIDE))
    assert ((lower - lips(points, (SIDE, SIDE))) >= 0).all()
    for x, y in points[0, 36:48].int().tolist():
        assert lower[0, 0, y, x] == 0
