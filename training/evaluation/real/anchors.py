"""Where a clip's face is measured: the same places for the source and for every dub, so that only pixels differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from keysync.face.crop import crop_boxes, from_crop, region, resize
from keysync.face.finder.squares import Square
from keysync.face.mesh import MeshReader
from keysync.face.mouth import CORNERS, EYES
from keysync.face.track import FaceTrack
from keysync.media.source import Frame

SIDE = 256  # pixels of a crop that a mesh is read in
# A mesh is on a face from this confidence on.
SURE = 0.5
# Standard deviation, in frames, of the smoothing of places: the source's own jaw must not move them.
STEADY = 3.0
# Points that speech hardly moves: eye corners, bridge of the nose, temples.
FIRM = (33, 133, 362, 263, 168, 6, 197, 127, 356)
# A patch's width in eye distances.
PATCH_WIDTH = 1.6


@dataclass(frozen=True, eq=False)
class Anchors:
    """Places of a clip's first n frames, from the source's own meshes and steady over time.

    boxes (n, 3) of the crops in the frame; `places` are the squares around the face in each crop, `patches` those of
    the lower face in the frame; seen (n,): a face is there; run (n,): the number of the run of the track, -1 for none.
    """

    boxes: NDArray[np.int64]
    places: list[Square]
    patches: list[Square]
    seen: NDArray[np.bool_]
    run: NDArray[np.int64]

    @classmethod
    def of(cls, frames: Iterable[Frame], track: FaceTrack, count: int, reader: MeshReader) -> Anchors:
        """The anchors of the first `count` frames of a track."""
        boxes, run = np.zeros((count, 3), np.int64), np.full(count, -1)
        for number, (start, stop) in enumerate(track.runs()):
            boxes[start:stop] = crop_boxes(track, start, stop)[: max(0, count - start)]
            run[start : min(stop, count)] = number
        found = np.flatnonzero(run >= 0)
        crops = torch.stack([crop(frame, box) for frame, box, at in zip(frames, boxes, run, strict=True) if at >= 0])
        meshes = reader.read(crops)
        seen = np.zeros(count, np.bool_)
        seen[found] = meshes.confidence > SURE
        rough = np.array([_row(meshes.place(number)) for number in range(len(found))])
        points = from_crop(meshes.points, boxes[found], SIDE)
        lower = np.empty_like(rough)
        for number in range(len(track.runs())):
            mine = run[found] == number
            if mine.any():
                rough[mine] = gaussian_filter1d(rough[mine], STEADY, axis=0, mode="nearest")
                lower[mine] = gaussian_filter1d(_lower_faces(points[mine]), STEADY / 2, axis=0, mode="nearest")
        places, patches = ([Square(0, 0, 1)] * count for _ in range(2))
        for at, place, patch in zip(found.tolist(), rough.tolist(), lower.tolist(), strict=True):
            places[at], patches[at] = _square(place), _square(patch)
        return cls(boxes, places, patches, seen, run)


def crop(frame: Frame, box: NDArray[np.int64]) -> Tensor:
    """The box of a frame (h, w, 3) as (SIDE, SIDE, 3) uint8."""
    planes = torch.from_numpy(np.ascontiguousarray(frame[region(box)])).permute(2, 0, 1)[None].float()
    return resize(planes, (SIDE, SIDE))[0].round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)


def _lower_faces(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares (n, 5) around the mouths of a run's meshes (n, 468, 3): they follow the firm points, not the lips."""
    flat = points[:, :, :2]
    across = flat[:, EYES[1]] - flat[:, EYES[0]]
    wide = np.linalg.norm(points[:, EYES[1]] - points[:, EYES[0]], axis=-1)
    angle = np.arctan2(across[:, 1], across[:, 0])
    c, s = np.cos(angle), np.sin(angle)
    firm = flat[:, FIRM].mean(1)
    away = (flat[:, [*CORNERS, 0, 17]].mean(1) - firm) / wide[:, None]
    # In the face's own axes the mouth is where it is in the median frame.
    own = np.median(np.stack([c * away[:, 0] + s * away[:, 1], c * away[:, 1] - s * away[:, 0]], 1), axis=0)
    x, y = firm[:, 0] + wide * (c * own[0] - s * own[1]), firm[:, 1] + wide * (s * own[0] + c * own[1])
    return np.stack([x, y, PATCH_WIDTH * wide, c, s], axis=1)


def _row(square: Square) -> list[float]:
    return [square.x, square.y, square.side, np.cos(square.angle), np.sin(square.angle)]


def _square(row: list[float]) -> Square:
    x, y, side, c, s = row
    return Square(x, y, side, float(np.arctan2(s, c)))
