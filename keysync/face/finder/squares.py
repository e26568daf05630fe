"""Rotated squares of a picture, and their sampling as input of the networks.

Pictures are (h, w, 3) uint8 tensors; points are continuous pixel coordinates as in `keysync.face.face`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# MediaPipe samples at this many positions per pixel and rounds to whole levels.
PLACES = 32
# OpenCV processes rows in blocks of this many pixels.
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Square:
    """A square of a picture: centre and side in pixels, rotated clockwise by `angle` radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def around(cls, h: int, w: int) -> Square:
        """The smallest upright square that contains a whole picture."""
        return cls(w / 2, h / 2, float(max(h, w)))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): maps points of the square, 0..1 along each side, to pixels of the picture."""
        c, s = math.cos(self.angle) * self.side, math.sin(self.angle) * self.side
        return np.array([[c, -s, self.x - (c - s) / 2], [s, c, self.y - (s + c) / 2]])

    def to_picture(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Points (..., 2) of the square, 0..1, in pixels of the picture."""
        matrix = self.matrix
        moved: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
        return moved

    def outside(self, inner: Square) -> Square:
        """`inner`, a square of the picture cut from this square at the same scale, in this square's picture."""
        x, y = self.to_picture(np.array([inner.x, inner.y]) / self.side).tolist()
        return Square(x, y, inner.side, self.angle + inner.angle)


def cut_whole(picture: Tensor, square: Square, quarters: int) -> tuple[Tensor, Square]:
    """Approximately that square in whole pixels, black outside the picture, and its exact square.

    `quarters` is the content's clockwise rotation in quarter turns, which is undone.
    """
    side = max(round(square.side), 8)
    left, top = round(square.x - square.side / 2), round(square.y - square.side / 2)
    inside = picture[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    before, above = min(max(-left, 0), side), min(max(-top, 0), side)
    padding = (0, 0, before, side - before - inside.shape[1], above, side - above - inside.shape[0])
    turned = torch.rot90(F.pad(inside, padding), quarters, (0, 1))
    return turned, Square(left + side / 2, top + side / 2, side, quarters * math.pi / 2)


def cut(picture: Tensor, square: Square, size: int, *, black_outside: bool) -> Tensor:
    """A square as a picture (1, 3, size, size), float32 0..255, whole levels.

    Like in MediaPipe, it is sampled bilinearly without antialiasing, and pixel 0 is on the edge of the square: the
    networks were trained on such pictures. Outside the picture it is black, or repeats the nearest edge.
    """
    h, w = picture.shape[:2]
    x, y = (places.to(picture.device) for places in _places(square, size))
    right, down = (x & PLACES - 1).float()[..., None] / PLACES, (y & PLACES - 1).float()[..., None] / PLACES
    left, top = x >> PLACES.bit_length() - 1, y >> PLACES.bit_length() - 1
    pixels = picture.reshape(h * w, 3)

    def at(x: Tensor, y: Tensor) -> Tensor:
        index = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
        values = pixels.index_select(0, index.flatten()).reshape(size, size, 3).float()
        return values * ((x >= 0) & (x < w) & (y >= 0) & (y < h))[..., None] if black_outside else values

    upper = at(left, top).lerp_(at(left + 1, top), right)
    lower = at(left, top + 1).lerp_(at(left + 1, top + 1), right)
    return upper.lerp_(lower, down).add_(0.5).floor_().permute(2, 0, 1)[None]  # h w c -> 1 c h w


def _places(square: Square, size: int) -> tuple[Tensor, Tensor]:
    """The sampling position of each pixel (size, size), in 1/32 pixels of the picture: x and y, int32.

    The arithmetic repeats OpenCV's warpPerspective step by step: positions are often exactly between two steps, where
    rounding errors decide. Other rounding moves the mesh by up to 3 % of a face.
    """
    number = torch.arange(size)
    start, step = (number // BLOCK * BLOCK).double(), (number % BLOCK).double()
    down = number.double()[:, None]
    x, y, scale = ((row[0] * start + row[1] * down + row[2]) + row[0] * step for row in _matrix(square, size))
    scale = PLACES / scale
    return x.mul_(scale).round_().int(), y.mul_(scale).round_().int()


def _matrix(square: Square, size: int) -> list[list[float]]:
    """(3, 3): maps pixels of the cut to pixels of the picture, solved from the four corners like in OpenCV."""
    corners = ((0, size), (0, 0), (size, 0), (size, size))
    rows = []
    for number, (x, y) in enumerate(_corners(square)):
        u, v = corners[number]
        rows.append([x, y, 1.0, 0.0, 0.0, 0.0, -x * u, -y * u, u])
        rows.append([0.0, 0.0, 0.0, x, y, 1.0, -x * v, -y * v, v])
    (a, b, c), (d, e, f), (g, h, i) = _threes([*_solved(rows[::2] + rows[1::2]), 1.0])
    scale = 1 / (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    return [
        [(e * i - f * h) * scale, (c * h - b * i) * scale, (b * f - c * e) * scale],
        [(f * g - d * i) * scale, (a * i - c * g) * scale, (c * d - a * f) * scale],
        [(d * h - e * g) * scale, (b * g - a * h) * scale, (a * e - b * d) * scale],
    ]


def _threes(values: list[float]) -> list[list[float]]:
    return [values[start : start + 3] for start in range(0, len(values), 3)]


def _corners(square: Square) -> list[tuple[float, float]]:
    """Lower left, upper left, upper right, lower right corner in single precision, like OpenCV's RotatedRect."""
    x, y, side = np.float32(square.x), np.float32(square.y), np.float32(square.side)
    c, s = np.float32(math.cos(square.angle)) * np.float32(0.5), np.float32(math.sin(square.angle)) * np.float32(0.5)
    lower = x - s * side - c * side, y + c * side - s * side
    upper = x + s * side - c * side, y - c * side - s * side
    opposite = [(2 * x - corner_x, 2 * y - corner_y) for corner_x, corner_y in (lower, upper)]
    return [(float(corner_x), float(corner_y)) for corner_x, corner_y in (lower, upper, *opposite)]


def _solved(rows: list[list[float]]) -> list[float]:
    """Solves linear equations, rows of coefficients and right-hand side, by LU decomposition with partial pivoting."""
    rows, n = [list(map(float, row)) for row in rows], len(rows)
    for column in range(n):
        pivot = max(range(column, n), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(column + 1, n):
            factor = -rows[row][column] * (1 / rows[column][column])
            rows[row][column + 1 :] = [
                value + factor * above
                for value, above in zip(rows[row][column + 1 :], rows[column][column + 1 :], strict=True)
            ]
    solution = [0.0] * n
    for row in reversed(range(n)):
        rest = rows[row][n]
        for column in range(row + 1, n):
            rest -= rows[row][column] * solution[column]
        solution[row] = rest / rows[row][row]
    return solution


def batch(cuts: Sequence[Tensor]) -> Tensor:
    """Pictures (1, 3, h, w) as one batch in channels-last order, the fastest for convolutions."""
    return torch.cat(list(cuts)).contiguous(memory_format=torch.channels_last)
