"""Decodes a detector's raw outputs into faces: boxes, key points and scores, with overlapping faces merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Indices of a detection's key points, in the networks' order; right and left are the person's own.
RIGHT_EYE, LEFT_EYE = 0, 1
KEY_POINTS = 6
# Detections that overlap by more than this (intersection over union) are averaged, weighted by their scores.
OVERLAP = 0.3
# Logits are clipped here, where a float32 sigmoid is 0 or 1.
LARGEST_LOGIT = 100.0


@dataclass(frozen=True, eq=False)
class Detection:
    """One face, in coordinates 0..1 of the picture: box (x0, y0, x1, y1), key points (6, 2), score 0..1."""

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
        """The clockwise rotation of the line between the eyes, in radians."""
        x, y = self.points[LEFT_EYE] - self.points[RIGHT_EYE]
        return math.atan2(y, x)


@lru_cache
def anchors(grids: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """The centres (n, 2), 0..1, of anchors on grids of (cells per side, anchors per cell), row by row."""
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
    """The faces in a picture of `size` pixels, best first, from boxes (n, 16), logits (n,) and anchors (n, 2).

    Detections with a score below `least` are dropped; overlapping ones are averaged, weighted by their scores.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -LARGEST_LOGIT, LARGEST_LOGIT)))
    sure = np.flatnonzero(scores >= least)
    raw = boxes[sure].astype(np.float64).reshape(-1, 2 + KEY_POINTS, 2) / size
    middle, sides = raw[:, 0] + centres[sure], raw[:, 1]
    points = raw[:, 2:] + centres[sure][:, None]
    values = np.concatenate([middle - sides / 2, middle + sides / 2, points.reshape(len(sure), 2 * KEY_POINTS)], 1)
    return _merged(values, scores[sure])


def _merged(values: NDArray[np.float64], scores: NDArray[np.float64]) -> list[Detection]:
    """Merges rows of box and key points into detections: each absorbs those with lower scores that overlap it."""
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
