"""The colours of what covers a face tell its texels, and leave those of the same colour as they were judged."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.face.palette import FEWEST, Palette
from keysync.face.unfolded import COLUMNS, ROWS
from keysync.face.usual import Usual

SKIN, METAL = (190, 140, 120), (120, 125, 130)
EVERYWHERE = np.ones((ROWS, COLUMNS), np.bool_)
BAR = np.zeros((ROWS, COLUMNS), np.bool_)
BAR[20:90, 50:62] = True
Texture = NDArray[np.float32]


def face(colour: tuple[int, int, int], seed: int) -> Texture:
    """Skin with a bar of a colour."""
    rng = np.random.default_rng(seed)
    texture = np.where(BAR[..., None], np.asarray(colour, np.float32), np.asarray(SKIN, np.float32))
    return texture + rng.normal(0, 2, texture.shape).astype(np.float32)


@pytest.fixture(scope="module")
def usual() -> Usual:
    return Usual.of(np.stack([face(SKIN, seed) for seed in range(4)]), np.stack([EVERYWHERE] * 4))


def judged(colour: tuple[int, int, int], usual: Usual, chances: Texture) -> Texture:
    texture = face(colour, 9)
    palette = Palette.of([(texture, EVERYWHERE)], np.where(BAR, np.float32(0.95), np.float32(0))[None], usual)
    assert palette is not None
    return palette.judged(chances, texture, EVERYWHERE, usual)


def test_what_has_the_colours_of_a_thing_belongs_to_it(usual: Usual) -> None:
    """Where the network finds too little and too much."""
    chances = np.full((ROWS, COLUMNS), 0.02, np.float32)
    chances[20:60, 49:58] = 0.8
    chances[60:90, 49:58] = 0.2
    found = judged(METAL, usual, chances)
    assert found.dtype == np.float32
    assert (found[20:90, 50:58] > 0.5).all()
    assert (found[20:90, 48:50] < 0.5).all()
    assert (found[:, 70:] < 0.1).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_a_thing_of_the_colour_of_the_skin_grows_to_what_is_nearly_likely(usual: Usual) -> None:
    chances = np.where(BAR, np.float32(0.8), np.float32(0.02))
    chances[60:90, 50:62] = 0.4
    found = judged(SKIN, usual, chances) > 0.5
    assert found[BAR].mean() > 0.95
    assert not found[~BAR].any()


def test_too_little_has_no_colours(usual: Usual) -> None:
    chances = np.zeros((1, ROWS, COLUMNS), np.float32)
    chances[0, 30, : FEWEST - 1] = 0.95
    assert Palette.of([(face(METAL, 9), EVERYWHERE)], chances, usual) is None


def test_a_frame_that_shows_nothing_keeps_its_chances(usual: Usual) -> None:
    palette = Palette(np.full((FEWEST, 3), 100, np.float32))
    chances = np.full((ROWS, COLUMNS), 0.7, np.float32)
    assert palette.judged(chances, face(SKIN, 0), ~EVERYWHERE, usual) is chances
