from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from training.synthetic.render.raster import AT_ONCE, draw, grid_triangles


def drawn(
    points: np.ndarray, depth: np.ndarray, values: np.ndarray, triangles: ArrayLike, two: bool = False
) -> np.ndarray:
    picture = np.zeros((20, 30, values.shape[1]), dtype=np.float32)
    corners, deep, shown = (np.asarray(array, dtype=np.float32) for array in (points, depth, values))
    numbers = np.asarray(triangles)
    draw(corners, deep, shown, numbers, picture, np.full(len(numbers), two))
    return picture


def test_values_run_linearly_between_the_corners() -> None:
    points = np.array([[-40, -40], [90, -40], [-40, 90]])

    picture = drawn(points, np.zeros(3), 2.0 * points, [[0, 1, 2]])

    y, x = np.mgrid[:20, :30] + 0.5
    np.testing.assert_allclose(picture, 2 * np.dstack([x, y]), atol=1e-3)


def test_a_grid_covers_each_pixel_of_its_area() -> None:
    rows, columns = 12, 17
    y, x = np.meshgrid(np.linspace(3.1, 16.4, rows), np.linspace(4.2, 25.7, columns), indexing="ij")
    points = np.stack([x, y], -1).reshape(-1, 2)

    picture = drawn(points, np.zeros(len(points)), np.ones((len(points), 1)), grid_triangles(rows, columns))

    expected = np.zeros((20, 30))
    expected[3:16, 4:26] = 1  # pixels whose middles lie inside
    np.testing.assert_array_equal(picture[..., 0], expected)


def test_the_nearest_triangle_is_on_top_whatever_the_order() -> None:
    points = np.array([[0, 0], [60, 0], [0, 60]] * 2)
    depth, values = np.array([0, 0, 0, 5, 5, 5]), np.array([[1.0]] * 3 + [[2.0]] * 3)

    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        assert (drawn(points, depth, values, triangles) == 2).all()


def test_the_nearest_is_on_top_among_more_than_are_drawn_at_once() -> None:
    count = AT_ONCE + 50
    points = np.tile([[0, 0], [60, 0], [0, 60]], (count, 1))
    depth = np.repeat(np.random.default_rng(0).permutation(count), 3)

    picture = drawn(points, depth, depth[:, None], np.arange(3 * count).reshape(-1, 3))

    assert (picture == count - 1).all()


def test_a_back_is_seen_only_of_a_two_sided_triangle() -> None:
    points, values = np.array([[0, 0], [0, 60], [60, 0]]), np.ones((3, 1))

    assert not drawn(points, np.zeros(3), values, [[0, 1, 2]]).any()
    assert drawn(points, np.zeros(3), values, [[0, 1, 2]], two=True).all()


def test_what_lies_outside_the_picture_is_left_out() -> None:
    points = np.array([[-50, -50], [-10, -50], [-50, -10], [100, 100], [140, 100], [100, 140]])

    assert not drawn(points, np.zeros(6), np.ones((6, 1)), [[0, 1, 2], [3, 4, 5]]).any()
