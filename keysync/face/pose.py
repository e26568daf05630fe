"""How far a head is turned to its side and tilted, by its 68 points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Corners of the eyes, nose and corners of the mouth of a mean face, mm: x to the viewer's right, y down, z near.
# Means over rendered people, the two sides mirrored.
PLACES: dict[int, tuple[float, float, float]] = {
    36: (-47, -28, -19),
    39: (-16, -26, -6),
    42: (16, -26, -6),
    45: (47, -28, -19),
    27: (0, -30, 4),
    28: (0, -15, 11),
    29: (0, -1, 17),
    30: (0, 12, 25),
    31: (-15, 19, 3),
    33: (0, 23, 4),
    35: (15, 19, 3),
    48: (-27, 41, -8),
    54: (27, 41, -8),
}
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # the person's own
_SHAPE = np.array(list(PLACES.values()), dtype=np.float64)
_SOLVE = np.linalg.pinv(_SHAPE - _SHAPE.mean(0))


def yaws(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Degrees, 0..180, by which heads (..., 68, 2) are turned to either side; NaN for points of NaN.

    By the affine view of the mean face that fits the points best; roll and pitch do not matter.
    """
    seen = points[..., list(PLACES), :].astype(np.float64)
    axes = _SOLVE @ (seen - seen.mean(-2, keepdims=True))  # ... 3 2: where the head's axes point to in the picture
    down = axes[..., 1, :]
    right = np.stack([down[..., 1], -down[..., 0]], -1) / np.linalg.norm(down, axis=-1, keepdims=True)
    across, _, out = np.moveaxis((axes * right[..., None, :]).sum(-1), -1, 0)
    turned: NDArray[np.float64] = np.degrees(np.arctan2(np.abs(out), across))
    return turned


def rolls(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Degrees, -180..180, by which heads (..., 68, 2) are tilted clockwise, as the eyes say; NaN for points of NaN."""
    eyes = np.subtract(*(points[..., eye, :].mean(-2, dtype=np.float64) for eye in (LEFT_EYE, RIGHT_EYE)))
    tilted: NDArray[np.float64] = np.degrees(np.arctan2(eyes[..., 1], eyes[..., 0]))
    return tilted
