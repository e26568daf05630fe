"""Rasterises triangles: interpolates the values of a mesh's vertices at every pixel, the nearest triangle on top."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

AT_ONCE = 1200  # triangles whose pixels fit the processor's cache


def grid_triangles(rows: int, columns: int, first: int = 0) -> Ints:
    """The two triangles per cell of a grid of vertices numbered from `first`: (2 (rows - 1) (columns - 1), 3)."""
    corner = np.arange(rows * columns).reshape(rows, columns) + first
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])


def draw(
    points: Floats, depth: Floats, values: Floats, triangles: Ints, picture: Floats, two_sided: NDArray[np.bool_]
) -> None:
    """Writes the vertices' values (n, k) into a picture (H, W, k) where the triangles cover a pixel's centre.

    `points` (n, 2) are pixels, `depth` (n,) grows towards the viewer. Back faces are culled unless they are two-sided.
    Triangles are sorted by depth and must be small.
    """
    H, W = picture.shape[:2]
    x, y = (np.ascontiguousarray(points[:, axis], dtype=np.float32) for axis in (0, 1))
    a, b, c = triangles.T
    area = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])
    seen = np.flatnonzero((area > 1e-5) | (two_sided & (area < -1e-5)))
    corners = triangles[seen].T
    order = np.argsort(depth[corners].sum(0), kind="stable")
    corners = corners[:, order]
    flat = picture.reshape(H * W, -1)
    for start in range(0, len(seen), AT_ONCE):
        _fill(flat, (H, W), x, y, values, corners[:, start : start + AT_ONCE])


def _fill(flat: Floats, size: tuple[int, int], x: Floats, y: Floats, values: Floats, corners: Ints) -> None:
    """Writes triangles (3, m) in order into the pixels (H W, k) of a picture."""
    H, W = size
    (x0, x1, x2), (y0, y1, y2) = x[corners], y[corners]
    left, right = _span(x0, x1, x2, W)
    top, bottom = _span(y0, y1, y2, H)
    wide, count = right - left, (right - left) * (bottom - top)
    # The barycentric weights of the second and third vertex are linear in the pixel's position.
    over = 1 / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
    second_x, second_y, third_x, third_y = (y2 - y0) * over, (x0 - x2) * over, (y0 - y1) * over, (x1 - x0) * over
    off_x, off_y = left + np.float32(0.5) - x0, top + np.float32(0.5) - y0
    second_0, third_0 = second_x * off_x + second_y * off_y, third_x * off_x + third_y * off_y
    which = np.repeat(np.arange(len(over), dtype=np.int32), count)
    place = np.arange(len(which), dtype=np.int32)
    place -= np.repeat((np.cumsum(count) - count).astype(np.int32), count)
    each = wide[which]
    row = place // each
    column = place - row * each
    second = second_0[which] + second_x[which] * column + second_y[which] * row
    third = third_0[which] + third_x[which] * column + third_y[which] * row
    edge = np.float32(-1e-4)
    inside = np.flatnonzero((second >= edge) & (third >= edge) & (second + third <= 1 - edge))
    which, second, third = which[inside], second[inside, None], third[inside, None]
    pixel = (top[which] + row[inside]) * W + left[which] + column[inside]
    first = values[corners[0]]
    value = first[which] + second * (values[corners[1]] - first)[which] + third * (values[corners[2]] - first)[which]
    flat[pixel] = value  # the last value per pixel, which is the nearest, remains


def _span(a: Floats, b: Floats, c: Floats, size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First pixel and one past the last whose centres may be between the three, inside 0..size."""
    low = np.ceil(np.minimum(np.minimum(a, b), c) - np.float32(0.501))
    high = np.floor(np.maximum(np.maximum(a, b), c) + np.float32(0.501))
    first = np.clip(low, 0, size).astype(np.int32)
    return first, np.maximum(np.clip(high, 0, size).astype(np.int32), first)
