"""The sharpness of a mouth: the variance of the Laplacian (`VL` of the paper's tables)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..face.paste import LUMA

# The outer edge of the lips in the face mesh, in order around them.
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
# How much wider than the lips the region is in which sharpness is measured, on each side, of the mouth's width.
MARGIN = 0.15
# Eye distances by which openings that count as equal may differ.
ALIKE = 0.02

Frame = NDArray[np.uint8]
Row = NDArray[np.float64]


def mouth_sharpness(frame: Frame, mesh: NDArray[np.floating[Any]]) -> float:
    """The variance of the Laplacian of a mouth's luma, 0..255, in the pixels of its frame (h, w, 3).

    `mesh` (468, 2 or 3) is in pixels of the frame. NaN for a mouth that is not inside the frame.
    """
    lips = mesh[list(LIPS), :2]
    margin = MARGIN * float(np.ptp(lips[:, 0]))
    (left, top), (right, bottom) = np.floor(lips.min(0) - margin), np.ceil(lips.max(0) + margin)
    h, w = frame.shape[:2]
    if left < 0 or top < 0 or right > w or bottom > h:
        return np.nan
    return laplacian_variance(luma(frame[int(top) : int(bottom), int(left) : int(right)]))


def laplacian_variance(grey: NDArray[np.float64]) -> float:
    """The variance of the Laplacian of a grey picture (h, w), in its unit squared."""
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var())


def luma(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """The luma (...) of a picture (..., 3), in its unit."""
    grey: NDArray[np.float64] = picture.astype(np.float64) @ np.array(LUMA)
    return grey


def alike(made: tuple[Row, Row], source: tuple[Row, Row]) -> tuple[float, float]:
    """Sums of the sharpness of a dub and of its source over frames with an equal opening.

    Both are openings (n,) in eye distances and sharpnesses (n,) of frames, NaN where there is none: an open mouth has
    other edges than a closed one. Each frame of the dub counts beside the source's frame with the nearest opening.
    """
    (opening, sharp), (source_opening, source_sharp) = (_known(*pair) for pair in (made, source))
    if not len(opening) or not len(source_opening):
        return 0.0, 0.0
    order = np.argsort(source_opening, kind="stable")
    place = np.searchsorted(source_opening[order], opening)
    around = order[np.clip(np.stack([place - 1, place]), 0, len(order) - 1)]
    apart = np.abs(source_opening[around] - opening)
    partner = np.take_along_axis(around, apart.argmin(0)[None], 0)[0]
    equal = apart.min(0) <= ALIKE
    return float(sharp[equal].sum()), float(source_sharp[partner[equal]].sum())


def _known(opening: Row, sharpness: Row) -> tuple[Row, Row]:
    known = np.isfinite(opening) & np.isfinite(sharpness)
    return opening[known], sharpness[known]
