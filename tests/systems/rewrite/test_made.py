from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.systems.rewrite.head import Poses, make_reference
from keysync.systems.rewrite.made import GAPS, MADE, WIDTHS, Closed, make_mouths
from keysync.systems.rewrite.points import POINTS

from .faces import real_mesh

SIDE = 256
Base = tuple[Closed, NDArray[np.float64]]


@pytest.fixture(scope="module")
def closed() -> Base:
    mesh = real_mesh()
    mesh = (mesh - mesh[[13, 14]].mean(0)) / np.linalg.norm(mesh[33] - mesh[263]) * 110 + (SIDE / 2, SIDE / 2, 0)
    reference = make_reference(mesh[None])
    poses = Poses.of(mesh[None], reference)
    texture = torch.from_numpy(np.random.default_rng(0).integers(90, 200, (SIDE, SIDE, 3), dtype=np.uint8))
    return Closed(poses.settle(mesh[None])[0, list(POINTS)], texture, (0, 0), poses), reference


def test_mouths_have_the_gaps_and_widths_that_they_say(closed: Base) -> None:
    mouth, reference = closed
    made = make_mouths(mouth, reference)
    assert len(made) == MADE
    assert {one.change for one in made} == {(gap, width) for gap in GAPS.tolist() for width in WIDTHS}
    own = mouth.settled
    upper, lower, right, left = (POINTS.index(point) for point in (13, 14, 61, 291))
    for one in made:
        gap = one.settled[lower, 1] - one.settled[upper, 1] - (own[lower, 1] - own[upper, 1])
        width = one.settled[left, 0] - one.settled[right, 0] - (own[left, 0] - own[right, 0])
        assert gap == pytest.approx(one.change[0], abs=0.01)
        assert width == pytest.approx(one.change[1], abs=0.01)


def test_skin_does_not_fold(closed: Base) -> None:
    """Points keep their order from top to bottom where they are one above the other."""
    mouth, reference = closed
    widest = make_mouths(mouth, reference)[len(GAPS) - 1]
    own, made = mouth.settled, widest.settled
    for one in range(len(POINTS)):
        for other in range(len(POINTS)):
            beside = abs(own[one, 0] - own[other, 0])
            apart = own[other, 1] - own[one, 1]
            if beside < 0.3 * apart:
                assert made[other, 1] - made[one, 1] > 0.3 * apart, (POINTS[one], POINTS[other])


def test_the_closed_mouth_stays_as_it_is(closed: Base) -> None:
    mouth, reference = closed
    unchanged = next(one for one in make_mouths(mouth, reference) if one.change == (0.0, 0.0))
    difference = (unchanged.patch.int() - mouth.patch.int()).abs()
    assert difference[4:-4, 4:-4].float().mean() < 2
