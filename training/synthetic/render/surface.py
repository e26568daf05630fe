"""A painted surface of a person, and the atlas of all surfaces of a person.

A surface is a fine grid of points in mm with colour and shading. The atlas stacks the grids: colours and normals become
textures, every `STRIDE`-th point a vertex of the mesh that is moved and drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .opencv import cv2
from .raster import Floats, Ints, grid_triangles

Array = NDArray[np.float64]

STRIDE = 8


@dataclass(frozen=True, eq=False)
class Surface:
    """points (h, w, 3) in mm, h - 1 and w - 1 multiples of STRIDE; colour (h, w, 3) linear; gloss and openness (h, w).

    Openness is the share of ambient light that reaches a point. Normals point to the side from which the rows'
    direction is clockwise from the columns'; a two-sided surface is visible from both.
    """

    points: Array
    colour: Array
    gloss: Array
    openness: Array
    two_sided: bool = False

    @property
    def normals(self) -> Array:
        across = np.cross(np.gradient(self.points, axis=1), np.gradient(self.points, axis=0))
        unit: Array = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
        return unit


class Atlas:
    """Textures (H, W, 4) `paint` (linear colour and gloss) and `form` (normal and openness), and the mesh on them."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        wide = max(surface.points.shape[1] for surface in surfaces)
        self.paint, self.form = (
            np.concatenate([_padded(t, wide) for t in self._textures(surfaces, k)]) for k in (0, 1)
        )
        points, places, triangles, sided, parts = [], [], [], [], []
        self.tops: list[int] = []
        top = first = 0
        for part, surface in enumerate(surfaces):
            h, w = surface.points.shape[:2]
            corners = surface.points[::STRIDE, ::STRIDE].reshape(-1, 3)
            rows, columns = np.mgrid[0:h:STRIDE, 0:w:STRIDE]
            cells = grid_triangles(rows.shape[0], rows.shape[1], first)
            points.append(corners)
            places.append(np.stack([columns.ravel(), rows.ravel() + top], -1))
            triangles.append(cells)
            sided.append(np.full(len(cells), surface.two_sided))
            parts.append(np.full(len(corners), part))
            self.tops.append(top)
            top, first = top + h, first + len(corners)
        self.points: Array = np.concatenate(points)
        self.places: Floats = np.concatenate(places).astype(np.float32)
        self.triangles: Ints = np.concatenate(triangles)
        self.two_sided: NDArray[np.bool_] = np.concatenate(sided)
        self.part: Ints = np.concatenate(parts)

    @staticmethod
    def _textures(surfaces: Sequence[Surface], kind: int) -> list[Floats]:
        pairs = [((s.colour, s.gloss), (s.normals, s.openness))[kind] for s in surfaces]
        return [np.dstack(pair).astype(np.float32) for pair in pairs]


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int = 3) -> Array:
    """Smooth noise of about -1..1; `cells`: rows and columns of the coarsest octave."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        size = (min(cells[0] << octave, shape[0]), min(cells[1] << octave, shape[1]))
        grain = rng.uniform(-1, 1, (size[0] + 1, size[1] + 1)).astype(np.float32)
        total += cv2.resize(grain, shape[::-1], interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
    return total.astype(np.float64)


def blur(values: Array, sigma: float) -> Array:
    """Gaussian blur of (h, w) or (h, w, k)."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float64)


def linear(colour: Sequence[float] | Array) -> Array:
    """A display colour as linear light; `light.shown` is the inverse."""
    return np.square(np.asarray(colour, dtype=np.float64))


def _padded(texture: Floats, wide: int) -> Floats:
    return np.pad(texture, ((0, 0), (0, wide - texture.shape[1]), (0, 0)), mode="edge")
