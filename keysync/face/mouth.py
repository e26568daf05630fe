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
CORNERS, INNER_CORNERS, OUTER = (61, 291), (78, 308), (0, 17)


def measure(points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Opening, width, roundness and jaw (n, 4) of meshes (n, 468, 3).

    Opening is the gap between the inner lips, width that between the mouth corners, jaw that from the bridge of the
    nose to the chin, all over the distance of the outer eye corners; roundness is the height of the outer lips over
    their width. Distances are in space, so that a turned head measures like a frontal one.
    """
    eyes, width = _distance(points, EYES), _distance(points, CORNERS)
    jaw, height = _distance(points, (BRIDGE, CHIN)), _distance(points, OUTER)
    return np.stack([_gap(points) / eyes, width / eyes, height / width, jaw / eyes], axis=-1).astype(np.float32)


def aspect_ratio(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The mouth aspect ratio (n,) of meshes (n, 468, 3): the gap between the inner lips over the distance of their
    corners (paper §4.2)."""
    ratio: NDArray[np.float64] = _gap(points) / _distance(points, INNER_CORNERS)
    return ratio


def _gap(points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The mean distance of the inner pairs: (n,)."""
    gap: NDArray[np.float64] = np.mean([_distance(points, pair) for pair in INNER], axis=0)
    return gap


def _distance(points: NDArray[np.floating[Any]], pair: tuple[int, int]) -> NDArray[np.float64]:
    first, second = (points[:, number].astype(np.float64) for number in pair)
    apart: NDArray[np.float64] = np.linalg.norm(first - second, axis=-1)
    return apart
