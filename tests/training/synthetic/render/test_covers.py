"""What covers a mouth: each thing has a shape of its own, and passes before the mouth."""

from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.render.covers import COVERS, SHAPES, passing
from training.synthetic.render.identity import Identity
from training.synthetic.render.light import Light
from training.synthetic.render.occluder import OCCLUDERS, SIDE


@pytest.mark.parametrize("kind", [*COVERS, *SHAPES])
def test_each_thing_has_a_shape_and_finite_colours(kind: str) -> None:
    rng = np.random.default_rng(0)
    thing = {**COVERS, **SHAPES}[kind](Identity.sample(rng), Light.sample(rng), rng)
    assert thing.colour.shape == (SIDE, SIDE, 3)
    assert np.isfinite(thing.colour).all()
    assert 0.005 < (thing.cover > 0.5).mean() < 0.5


def test_the_renderers_own_are_among_them() -> None:
    assert OCCLUDERS.items() <= COVERS.items()


def test_what_hangs_passes_the_mouth_for_its_share() -> None:
    rng = np.random.default_rng(0)
    thing = COVERS["strand"](Identity.sample(rng), Light.sample(rng), rng)
    way = passing(thing, rng, 40, 0.5).way
    there = np.isfinite(way[:, 0])
    assert there.sum() == 20
    assert np.abs(way[there, 0]).min() < 30
    assert np.abs(way[there, 0]).max() > 100
