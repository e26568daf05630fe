from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.systems.rewrite.inside import PIXELS, Colours, fill

SIDE = 200
COLOURS = Colours(np.array([0.9, 0.85, 0.8]), np.array([0.6, 0.3, 0.3]))
# 200 pixels an eye distance, the middle of the picture at the origin.
TO_REFERENCE = np.array([[1 / SIDE, 0, -0.5], [0, 1 / SIDE, -0.5]])


def ellipse(gap: float) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return SIDE * (0.5 + np.stack([0.2 * np.cos(angles), gap / 2 * np.sin(angles)], 1))


def filled(gap: float, colours: Colours = COLOURS) -> torch.Tensor:
    skin = torch.full((3, SIDE, SIDE), 0.7)
    return fill(skin, ellipse(gap), TO_REFERENCE, (-gap / 2, gap / 2), -gap / 4, colours)


def test_teeth_are_above_the_dark_and_the_tongue_below() -> None:
    column = filled(0.2)[:, :, SIDE // 2].mean(0)
    top = int(SIDE * (0.5 - 0.05 + 0.03)) - 4  # above the incisors' edge
    assert column[top] > 0.5
    assert column[SIDE // 2 + 4] < 0.15
    assert column[SIDE // 2 + 13] > column[SIDE // 2 + 6]


def test_nothing_changes_outside_the_lips() -> None:
    picture = filled(0.2)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    outside = (columns / 0.22) ** 2 + (rows / 0.12) ** 2 > 1
    assert (picture[:, torch.from_numpy(outside)] == 0.7).all()


def test_teeth_do_not_move_with_the_lips() -> None:
    """The incisors' lower edge, where both mouths show it."""
    rows = slice(SIDE // 2 - 12, SIDE // 2)
    skin = torch.full((3, SIDE, SIDE), 0.7)
    one, other = (
        fill(skin, ellipse(gap), TO_REFERENCE, (-gap / 2, gap / 2), -0.05, COLOURS)[:, rows, SIDE // 2].mean(0)
        for gap in (0.18, 0.24)
    )
    edge, other_edge = (int(line.diff().argmin()) for line in (one, other))
    assert abs(edge - other_edge) <= 1


def test_white_is_no_brighter_than_the_face_allows() -> None:
    face, lips = np.array([[20.0, 20.0], [80.0, 80.0]]), np.array([[50.0, 50.0]])
    dark, light = (Colours.of(torch.full((100, 100, 3), value), face, lips) for value in (10, 200))
    assert dark.light.mean() == pytest.approx(40 / 255, rel=1e-3)
    assert light.light.mean() == pytest.approx(200 / 255, rel=1e-3)
    grey = torch.full((100, 100, 3), 120)
    grey[..., 0] = 180  # a pink face has whiter teeth
    assert np.ptp(Colours.of(grey, face, lips).light) < 0.5 * 60 / 255
    assert PIXELS > SIDE
