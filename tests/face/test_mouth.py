from __future__ import annotations

import numpy as np

from keysync.face.mouth import MEASURED, measure


def mesh(gap: float = 0.1, width: float = 0.5, chin: float = 1.4) -> np.ndarray:
    points = np.zeros((1, 468, 3))
    points[:, 33, 0], points[:, 263, 0] = -0.5, 0.5
    points[:, 61, 0], points[:, 291, 0] = -width / 2, width / 2
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        points[:, lower, 1] = points[:, upper, 1] + gap
    points[:, 17, 1] = gap + 0.2
    points[:, 152, 1] = chin
    return points


def test_distances_are_in_eye_distances() -> None:
    np.testing.assert_allclose(measure(mesh()), [[0.1, 0.5, 0.6, 1.4]], rtol=1e-6)
    assert measure(mesh()).shape == (1, len(MEASURED))


def test_size_place_and_turn_of_the_head_change_nothing() -> None:
    turn = np.array([[np.cos(0.7), 0, np.sin(0.7)], [0, 1, 0], [-np.sin(0.7), 0, np.cos(0.7)]])
    np.testing.assert_allclose(measure(37 * mesh() @ turn.T + 5), measure(mesh()), rtol=1e-5)
