"""Lips vectors follow the mouth, and not where the face is, how large it is, or how it is tilted."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from keysync.systems.flashlips.lips_vector import LOOKED_AT, LipsVector, in_the_face, mouth_pictures
from keysync.systems.flashlips.presets import PRESETS

from ...synthetic_face import face_points


def points() -> Tensor:
    return torch.from_numpy(face_points((50, 60), 20)).float()[None]


def turned(points: Tensor, degrees: float, scale: float, shift: tuple[float, float]) -> Tensor:
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return scale * points @ turn + torch.tensor(shift)


def test_points_in_the_face_do_not_depend_on_the_camera() -> None:
    placed = in_the_face(points())
    assert placed.shape == (1, len(LOOKED_AT), 2)
    moved = in_the_face(turned(points(), 25, 1.7, (9, -30)))
    torch.testing.assert_close(moved, placed, atol=1e-4, rtol=1e-4)


def test_an_open_mouth_is_another_mouth() -> None:
    opened = points()
    opened[:, 55:60, 1] += 4
    assert float((in_the_face(opened) - in_the_face(points())).abs().max()) > 0.05


def test_eyes_in_one_place_give_numbers() -> None:
    assert bool(torch.isfinite(in_the_face(torch.full((1, 68, 2), 7.0))).all())


def test_the_picture_of_the_mouth_turns_with_the_head() -> None:
    """The same mouth in a frame and in the frame turned by a quarter."""
    pictures = F.interpolate(torch.rand(1, 3, 25, 25), (100, 100), mode="bicubic")
    upright = mouth_pictures(pictures, points(), 16)
    assert upright.shape == (1, 3, 16, 16)
    # Turned to the right: (x, y) goes to (100 - y, x).
    x, y = points().unbind(-1)
    torch.testing.assert_close(
        mouth_pictures(pictures.rot90(-1, (2, 3)), torch.stack((100 - y, x), -1), 16), upright, atol=1e-4, rtol=1e-4
    )


def test_the_picture_of_the_mouth_shows_the_mouth() -> None:
    pictures = torch.zeros(1, 3, 120, 100)
    x, y = (round(float(value)) for value in points()[0, 48:].mean(0))
    pictures[..., y - 2 : y + 2, x - 2 : x + 2] = 1
    mouth = mouth_pictures(pictures, points(), 15)[0, 0]
    assert float(mouth[7, 7]) > 0.5
    assert float(mouth[0].max()) == 0


@torch.no_grad()
def test_both_parts_have_their_numbers() -> None:
    torch.manual_seed(0)
    lips = LipsVector(PRESETS["tiny"].networks.lips).eval()
    pictures = torch.rand(1, 3, 100, 100)
    before = lips(pictures, points())
    assert before.shape == (1, 12)
    opened = points()
    opened[:, 6:11, 1] += 3  # the jaw: the picture of the mouth stays where it is
    after = lips(pictures, opened)
    assert torch.equal(after[:, 8:], before[:, 8:])
    assert not torch.equal(after[:, :8], before[:, :8])
    other = lips(torch.rand(1, 3, 100, 100), points())
    assert torch.equal(other[:, :8], before[:, :8])
    assert not torch.equal(other[:, 8:], before[:, 8:])


@pytest.mark.parametrize("size", [(40, 40), (64, 48)])
def test_pictures_may_have_any_size(size: tuple[int, int]) -> None:
    lips = LipsVector(PRESETS["tiny"].networks.lips)
    assert lips(torch.rand(2, 3, *size), points().expand(2, -1, -1)).shape == (2, 12)
