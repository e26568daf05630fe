"""How far a head is turned to its side, by its 68 points: the affine view of a mean face that fits them best."""

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
_SHAPE = np.array(list(PLACES.values()), dtype=np.float64)
_SOLVE = np.linalg.pinv(_SHAPE - _SHAPE.mean(0))


def yaws(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Degrees, 0..180, by which heads (..., 68, 2) are turned to either side; NaN for points of NaN.

    Roll and pitch do not matter.
    """
    seen = np.asarray(points, dtype=np.float64)[..., list(PLACES), :]
    axes = _SOLVE @ (seen - seen.mean(-2, keepdims=True))  # ... 3 2: where the head's axes point to in the picture
    down = axes[..., 1, :]
    right = np.stack([down[..., 1], -down[..., 0]], -1) / np.linalg.norm(down, axis=-1, keepdims=True)
    across, _, out = np.moveaxis((axes * right[..., None, :]).sum(-1), -1, 0)
    turned: NDArray[np.float64] = np.degrees(np.arctan2(np.abs(out), across))
    return turned
