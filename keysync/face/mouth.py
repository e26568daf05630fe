"""How a mouth stands, measured on a face mesh: the same numbers whatever the size and the turn of the head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Channels of a measurement.
MEASURED = ("opening", "width", "roundness", "jaw")

# Points of the mesh: the outer eye corners, the bridge of the nose and the chin.
EYES, BRIDGE, CHIN = (33, 263), 168, 152
# Pairs of points: across the inner lips at the middle and at both sides, mouth corners, outer lips at the middle.
INNER = ((13, 14), (82, 87), (312, 317))
CORNERS, OUTER = (61, 291), (0, 17)


def measure(points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Opening, width, roundness and jaw (n, 4) of meshes (n, 468, 3).

    Opening is the gap between the inner lips, width that between the mouth corners, jaw that from the bridge of the
    nose to the chin, all over the distance of the outer eye corners; roundness is the height of the outer lips over
    their width. Distances are in space, so that a turned head measures like a frontal one.
    """
    points = np.asarray(points, dtype=np.float64)

    def distance(first: int, second: int) -> NDArray[np.float64]:
        apart: NDArray[np.float64] = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
        return apart

    eyes, width = distance(*EYES), distance(*CORNERS)
    opening = np.mean([distance(*pair) for pair in INNER], axis=0) / eyes
    return np.stack([opening, width / eyes, distance(*OUTER) / width, distance(BRIDGE, CHIN) / eyes], axis=-1).astype(
        np.float32
    )
