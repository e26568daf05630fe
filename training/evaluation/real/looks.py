"""What a clip's frames look like: meshes, openings, sharpness of the mouth, patches of the lower face."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.face.crop import from_crop
from keysync.face.finder.squares import cut
from keysync.face.mesh import POINTS, MeshReader
from keysync.face.mouth import EYES, MEASURED, aspect_ratio, measure
from keysync.measure.sharpness import luma, mouth_sharpness
from keysync.media.source import Frame

from .anchors import SIDE, Anchors, crop

# Frames in memory at once.
BATCH = 16
# Pixels of a patch's side.
PATCH = 128

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
        points[there] = from_crop(meshes.points, boxes, SIDE)
        for at in there.tolist():
            sharpness[at] = mouth_sharpness(frames[at], points[at])
            patch = cut(torch.from_numpy(frames[at]), anchors.patches[start + at], PATCH, black_outside=False)
            patches[at] = luma(patch[0].permute(1, 2, 0).numpy()).round().astype(np.uint8)
    opening = measure(points)[:, MEASURED.index("opening")].astype(np.float64)
    return Look(points, opening, aspect_ratio(points), sharpness, patches, crops)
