"""A face in a frame: 68 points in iBUG's order, and the interface of the detectors.

Points are continuous pixel coordinates (x, y): (0, 0) is the upper left corner of the first pixel and (w, h) the lower
right corner of the last. iBUG counts from the viewer's left: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, outer lips
48–59, inner lips 60–67.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .finder.squares import Square

POINTS = 68
Frame = NDArray[np.uint8]
Points = NDArray[np.float32]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False, slots=True)
class Face:
    """One face: landmarks (68, 2) in pixels, confidence 0..1, bounding box (x0, y0, x1, y1) of the landmarks.

    `place` is where a detector that follows faces searches for it in the next frame; `look` says who it is (see
    `likeness`), None where it was not read.
    """

    landmarks: Points
    confidence: float
    box: Box
    place: Square | None = None
    look: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, landmarks: NDArray[np.floating[Any]], confidence: float) -> Face:
        """A face with the bounding box of its landmarks."""
        points = np.asarray(landmarks, dtype=np.float32)
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        return cls(points, float(confidence), (x0, y0, x1, y1))


class Detector(Protocol):
    """Finds the faces of single frames."""

    def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
        """The faces in an RGB frame (h, w, 3), in no particular order.

        `before` are the faces in the previous frame of the same shot, where a detector may search first.
        """

    def close(self) -> None:
        """Releases the detector's resources; it must not be used afterwards."""


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (both - width * height)
