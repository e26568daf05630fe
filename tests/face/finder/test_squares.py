"""Squares turn points there and back, and pictures are cut as MediaPipe cuts them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from keysync.face.finder.squares import Square, batch, cut, cut_whole


def test_points_of_a_turned_square_are_those_of_the_picture() -> None:
    square = Square(30, 20, 10, math.pi / 2)
    corners = square.to_picture(np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]))
    np.testing.assert_allclose(corners, [[35, 15], [35, 25], [30, 20]], atol=1e-12)


def test_a_square_within_a_square_keeps_its_size_and_adds_its_turn() -> None:
    outer = Square(100, 50, 40, math.pi / 2)
    inner = outer.outside(Square(30, 20, 8, 0.25))
    np.testing.assert_allclose((inner.x, inner.y), outer.to_picture(np.array([30, 20]) / 40))
    assert (inner.side, inner.angle) == (8, math.pi / 2 + 0.25)


@pytest.mark.parametrize("quarters", range(4))
def test_what_is_turned_stands_upright_afterwards(quarters: int) -> None:
    picture = torch.arange(60 * 80 * 3).reshape(60, 80, 3).remainder(251).to(torch.uint8)
    turned, square = cut_whole(picture, Square(41.2, 28.7, 24), quarters)
    assert turned.shape == (24, 24, 3)
    for column, row in ((0, 0), (5, 17), (23, 2)):
        x, y = square.to_picture(np.array([column + 0.5, row + 0.5]) / 24)
        assert turned[row, column].tolist() == picture[math.floor(y), math.floor(x)].tolist()


def test_outside_the_picture_it_is_black_or_goes_on() -> None:
    picture = torch.full((20, 20, 3), 200, dtype=torch.uint8)
    whole, square = cut_whole(picture, Square(0, 0, 16), 0)
    assert square == Square(0, 0, 16)
    assert whole[:8].eq(0).all()
    assert whole[8:, 8:].eq(200).all()
    assert cut_whole(picture, Square(500, -300, 16), 1)[0].eq(0).all()
    black = cut(picture, Square(0, 0, 16), 16, black_outside=True)
    assert black[0, :, :7].eq(0).all()
    assert cut(picture, Square(-40, 90, 16, 0.3), 8, black_outside=False).eq(200).all()


def test_a_cut_samples_from_the_edge_on_in_32nds_and_whole_levels() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(64, 1)[..., None].repeat(1, 1, 3)
    row = cut(ramp, Square(16, 16, 24), 48, black_outside=False)[0, 0, 0]
    assert row.tolist() == [math.floor(4 + step / 2 + 0.5) for step in range(48)]
    assert cut(ramp, Square(16, 16, 24), 48, black_outside=False).shape == (1, 3, 48, 48)


@pytest.mark.parametrize(
    ("square", "size", "checksum"),
    [(Square(60, 50, 86), 128, 3097287168), (Square(51.5, 48.5, 103), 128, 3011055015)],
)
def test_every_pixel_is_opencvs(square: Square, size: int, checksum: int) -> None:
    """The checksums are of cv2.warpPerspective's pictures (OpenCV 4.11); half of the pixels lie between two places."""
    y, x = torch.meshgrid(torch.arange(100), torch.arange(120), indexing="ij")
    picture = torch.stack([x * 7 + y * 13, x * x + y, x * y], -1).remainder(256).to(torch.uint8)
    found = cut(picture, square, size, black_outside=False)[0].permute(1, 2, 0).flatten().long()
    assert int((found * torch.arange(len(found)).remainder(997)).sum()) == checksum


def test_a_batch_lies_in_memory_as_convolutions_like_it() -> None:
    pictures = batch([torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)])
    assert pictures.shape == (2, 3, 8, 8)
    assert pictures.is_contiguous(memory_format=torch.channels_last)
