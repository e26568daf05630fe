"""What a clip's frames look like: meshes, openings, sharpness of the mouth, patches of the lower face."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.face.finder.squares import cut
from keysync.face.mesh import POINTS, MeshReader
from keysync.face.mouth import EYES, INNER, MEASURED, measure
from keysync.face.paste import LUMA
from keysync.media.source import Frame

from .anchors import SIDE, Anchors, crop, to_frame

# Frames in memory at once.
BATCH = 16
# Pixels of a patch's side.
PATCH = 128
# The inner corners of the mouth: the paper's ratio is that of the inner lips.
INNER_CORNERS = (78, 308)
# The outer edge of the lips, in order around them.
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
# How much wider than the lips the region is in which sharpness is measured, on each side, of the mouth's width.
MARGIN = 0.15

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Look:
    """Readings of n frames, NaN where there is no face.

    points (n, 468, 3) in pixels of the frame; opening (n,) in eye distances; ratio (n,), the mouth aspect ratio of the
    inner lips (paper §4.2); sharpness (n,), the variance of the Laplacian of the mouth's luma, 0..255, in the frame's
    own pixels; patches (n, PATCH, PATCH) uint8, the luma of the lower face; crops (n, SIDE, SIDE, 3) uint8.
    """

    points: Floats
    opening: Floats
    ratio: Floats
    sharpness: Floats
    patches: NDArray[np.uint8]
    crops: NDArray[np.uint8]

    @property
    def eyes(self) -> Floats:
        """The distance of the outer eye corners in pixels: (n,)."""
        apart: Floats = np.linalg.norm(self.points[:, EYES[1]] - self.points[:, EYES[0]], axis=-1)
        return apart


def look(frames: Iterable[Frame], anchors: Anchors, reader: MeshReader) -> Look:
    """Reads frames at the anchors of their clip; there may be fewer of them. Holds `BATCH` of them at once."""
    frames, start = iter(frames), 0
    parts: list[Look] = []
    while held := list(islice(frames, BATCH)):
        parts.append(_look(held, anchors, start, reader))
        start += len(held)
    return Look(*(np.concatenate(rows) for rows in zip(*(vars(part).values() for part in parts), strict=True)))


def _look(frames: list[Frame], anchors: Anchors, start: int, reader: MeshReader) -> Look:
    count = len(frames)
    points = np.full((count, POINTS, 3), np.nan)
    sharpness = np.full(count, np.nan)
    patches, crops = np.zeros((count, PATCH, PATCH), np.uint8), np.zeros((count, SIDE, SIDE, 3), np.uint8)
    there = np.flatnonzero(anchors.seen[start : start + count])
    if len(there):
        boxes = anchors.boxes[start + there]
        cuts = torch.stack([crop(frames[at], box) for at, box in zip(there.tolist(), boxes, strict=True)])
        crops[there] = cuts.numpy()
        meshes = reader.read(cuts, [anchors.places[start + at] for at in there.tolist()])
        points[there] = to_frame(meshes.points, boxes)
        for at in there.tolist():
            sharpness[at] = _sharpness(frames[at], points[at])
            patch = cut(torch.from_numpy(frames[at]), anchors.patches[start + at], PATCH, black_outside=False)
            patches[at] = _luma(patch[0].permute(1, 2, 0).numpy()).round().astype(np.uint8)
    opening = measure(points)[:, MEASURED.index("opening")].astype(np.float64)
    return Look(points, opening, _ratio(points), sharpness, patches, crops)


def _ratio(points: Floats) -> Floats:
    def distance(first: int, second: int) -> Floats:
        apart: Floats = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
        return apart

    ratio: Floats = np.mean([distance(*pair) for pair in INNER], axis=0) / distance(*INNER_CORNERS)
    return ratio


def _sharpness(frame: Frame, points: Floats) -> float:
    """NaN for a mouth that is not inside the frame."""
    lips = points[LIPS, :2]
    margin = MARGIN * float(np.ptp(lips[:, 0]))
    (left, top), (right, bottom) = np.floor(lips.min(0) - margin), np.ceil(lips.max(0) + margin)
    h, w = frame.shape[:2]
    if left < 0 or top < 0 or right > w or bottom > h:
        return np.nan
    grey = _luma(frame[int(top) : int(bottom), int(left) : int(right)])
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var())


def _luma(picture: NDArray[np.generic]) -> Floats:
    grey: Floats = picture.astype(np.float64) @ np.array(LUMA)
    return grey
