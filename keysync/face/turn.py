"""Squares that are turned as a head is tilted: how points and pixels go into one, and back into the frame.

A turned box is (x, y, side, roll): the square at (x, y) in whole pixels, turned about its middle, clockwise, by `roll`
hundredths of a degree. It may reach beyond the frame, whose edge then goes on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Of a degree, in a box.
HUNDREDTHS = 100
# Pixels beside a sampling point that bicubic interpolation uses.
REACH = 2


class Turned(NamedTuple):
    """A turned box: x, y and side in pixels, roll in hundredths of a degree."""

    x: int
    y: int
    side: int
    roll: int

    @classmethod
    def of(cls, box: Any) -> Turned | None:
        """A box that is turned; None for one of three numbers, which is upright."""
        return cls(*(int(value) for value in box)) if len(box) == 4 else None

    @property
    def middle(self) -> NDArray[np.float64]:
        return np.array([self.x, self.y]) + self.side / 2

    def inside(self, points: Tensor) -> Tensor:
        """Points (..., 2) of the frame in the square, whose upper left corner is (0, 0)."""
        back = torch.from_numpy(rotation(-self.roll / HUNDREDTHS))
        return (points.double() - torch.from_numpy(self.middle)) @ back.T + self.side / 2

    def outside(self, points: Tensor) -> Tensor:
        """Points (..., 2) of the square in the frame."""
        there = torch.from_numpy(rotation(self.roll / HUNDREDTHS))
        return (points.double() - self.side / 2) @ there.T + torch.from_numpy(self.middle)

    def region(self, frame_size: tuple[int, int], margin: int = 0) -> tuple[slice, slice]:
        """The rows and columns of a frame (h, w) in which the square lies, with a margin; at least one of each."""
        reach = extent(self.side, self.roll / HUNDREDTHS) / 2
        low = np.floor(self.middle - reach).astype(int) - margin
        high = np.ceil(self.middle + reach).astype(int) + margin
        h, w = frame_size
        (left, top), (right, bottom) = np.clip(low, 0, (w - 1, h - 1)), np.clip(high, 1, (w, h))
        return slice(int(top), int(bottom)), slice(int(left), int(right))

    def cut(self, planes: Tensor, corner: tuple[int, int]) -> Tensor:
        """The square (1, c, side, side) of planes (1, c, h, w), 0..1, whose upper left corner lies at `corner` (x, y)
        in the frame."""
        h, w = planes.shape[-2:]
        seen = self.outside(_middles(self.side, self.side)) - torch.tensor(corner)
        grid = seen / torch.tensor([w, h]) * 2 - 1
        return sample(planes, grid, "bicubic")

    def places(self, region: tuple[slice, slice]) -> Tensor:
        """Where the pixels of a region lie in the square: (h, w, 2), from -1 to 1 inside."""
        rows, columns = region
        pixels = _middles(rows.stop - rows.start, columns.stop - columns.start)
        return self.inside(pixels + torch.tensor([columns.start, rows.start])) / self.side * 2 - 1


def sample(planes: Tensor, grid: Tensor, scaling: str) -> Tensor:
    """Planes (1, c, h, w) of 0..1 at the places (H, W, 2) of a grid, -1..1: (1, c, H, W)."""
    seen = F.grid_sample(planes, grid.to(planes)[None], mode=scaling, padding_mode="border", align_corners=False)
    return seen.clamp_(0, 1) if scaling == "bicubic" else seen


def rotation(degrees: float) -> NDArray[np.float64]:
    """The matrix (2, 2), for columns, that turns clockwise where y points down."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def extent(side: float, degrees: float) -> float:
    """The side of the upright square around one that is turned."""
    return float(side * np.abs(rotation(degrees)[0]).sum())


def _middles(rows: int, columns: int) -> Tensor:
    """The middles (rows, columns, 2) of pixels as points (x, y)."""
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return torch.stack([x, y], -1)
