"""From a detector's raw outputs to faces: boxes, key points and scores, the overlapping ones merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Key points of a detection, in the order in which the networks give them; right and left are the person's own.
RIGHT_EYE, LEFT_EYE = 0, 1
KEY_POINTS = 6
# Of detections that overlap by more than this, intersection over union, the sure ones outweigh the others.
OVERLAP = 0.3
# Logits beyond this change nothing: a float32 sigmoid is 0 or 1 there.
LARGEST_LOGIT = 100.0


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in a picture, 0..1 along its sides: box (x0, y0, x1, y1), key points (6, 2), score 0..1."""

    box: NDArray[np.float64]
    points: NDArray[np.float64]
    score: float

    @property
    def centre(self) -> NDArray[np.float64]:
        middle: NDArray[np.float64] = (self.box[:2] + self.box[2:]) / 2
        return middle

    @property
    def side(self) -> float:
        """The longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())

    @property
    def roll(self) -> float:
        """By how much the eyes' line is turned clockwise, in radians."""
        x, y = self.points[LEFT_EYE] - self.points[RIGHT_EYE]
        return math.atan2(y, x)


@lru_cache
def anchors(grids: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """The centres (n, 2), 0..1, of anchors on grids of (cells a side, anchors a cell), row by row."""
    centres = []
    for cells, each in grids:
        y, x = np.mgrid[:cells, :cells].reshape(2, -1) + 0.5
        centres.append(np.stack([x, y], 1).repeat(each, 0) / cells)
    return np.concatenate(centres)


def read_detections(
    boxes: NDArray[np.floating[Any]],
    logits: NDArray[np.floating[Any]],
    centres: NDArray[np.float64],
    size: int,
    least: float,
) -> list[Detection]:
    """The faces of one picture of `size` pixels, surest first, given its boxes (n, 16), logits (n,) and anchors (n, 2).

    What scores less than `least` is no face; what overlaps is averaged by its scores.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -LARGEST_LOGIT, LARGEST_LOGIT)))
    sure = np.flatnonzero(scores >= least)
    raw = boxes[sure].astype(np.float64).reshape(-1, 2 + KEY_POINTS, 2) / size
    middle, sides = raw[:, 0] + centres[sure], raw[:, 1]
    points = raw[:, 2:] + centres[sure][:, None]
    values = np.concatenate([middle - sides / 2, middle + sides / 2, points.reshape(len(sure), 2 * KEY_POINTS)], 1)
    return _merged(values, scores[sure])


def _merged(values: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Detection]:
    """Rows of box and key points, as detections; each gathers the less sure ones that overlap it."""
    found = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = _overlaps(values[left], values[left[0]]) > OVERLAP
        same[0] = True
        weights = scores[left[same]]
        row = weights @ values[left[same]] / weights.sum()
        found.append(Detection(row[:4], row[4:].reshape(KEY_POINTS, 2), float(scores[left[0]])))
        left = left[~same]
    return found


def _overlaps(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each box (n, 4 or more) with one."""
    sides = np.minimum(boxes[:, 2:4], box[2:4]) - np.maximum(boxes[:, :2], box[:2])
    shared = sides.clip(0).prod(1)
    areas = (boxes[:, 2:4] - boxes[:, :2]).prod(1) + (box[2:4] - box[:2]).prod()
    shares: NDArray[np.float64] = shared / np.maximum(areas - shared, 1e-12)
    return shares
