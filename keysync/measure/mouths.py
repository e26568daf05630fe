"""The mouth in each frame of a video, read from a face mesh; only numbers are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..face.crop import Crops, from_crop
from ..face.finder.squares import Square
from ..face.mesh import MeshReader, place_of
from ..face.mouth import MEASURED, aspect_ratio
from ..face.mouth import measure as measured
from ..method import PUBLISHED_CROP_SCALE
from .sharpness import mouth_sharpness

if TYPE_CHECKING:
    from ..face.track import FaceTrack

SIDE = 256  # pixels of the crop that a mesh is read in
# A mesh is on a face from this confidence on.
SURE = 0.5

Frame = NDArray[np.uint8]
Row = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mouths:
    """The mouths of n frames, NaN where no face is seen.

    shape (n, 4): opening, width, roundness and jaw in eye distances, see `face.mouth`; ratio (n,), the mouth aspect
    ratio of the inner lips; sharpness (n,), the variance of the Laplacian of the mouth.
    """

    shape: Row
    ratio: Row
    sharpness: Row

    @property
    def opening(self) -> Row:
        """The gap between the inner lips in eye distances: (n,)."""
        return self.shape[:, MEASURED.index("opening")]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether each frame shows the mouth: (n,)."""
        return np.isfinite(self.ratio)


class MouthMeter:
    """Reads the mouths of a video frame by frame, where its `track` shows the face."""

    def __init__(self, track: FaceTrack, reader: MeshReader) -> None:
        self._track, self._reader = track, reader
        self._crops = Crops.of(track, (SIDE, SIDE), PUBLISHED_CROP_SCALE)
        self._rows: list[Row] = []
        # Where the face was in the frame before, None where that is not known.
        self._place: Square | None = None

    def add(self, frame: Frame) -> None:
        """Reads the next frame (h, w, 3); there may be fewer frames than in the track."""
        row = np.full(len(MEASURED) + 2, np.nan)
        points = self._mesh(frame, len(self._rows))
        if points is not None:
            row[:-2], row[-2] = measured(points)[0], aspect_ratio(points)[0]
            row[-1] = mouth_sharpness(frame, points[0])
        self._rows.append(row)

    def finish(self) -> Mouths:
        """All that was read."""
        table = np.stack(self._rows) if self._rows else np.empty((0, len(MEASURED) + 2))
        return Mouths(table[:, :-2], table[:, -2], table[:, -1])

    def _mesh(self, frame: Frame, number: int) -> NDArray[np.float64] | None:
        """The mesh (1, 468, 3) of a face in pixels of the frame, None where there is none."""
        if number and self._track.shot[number] != self._track.shot[number - 1]:
            self._place = None
        if not self._track.found[number]:
            self._place = None
            return None
        picture, box = self._crops.cut(frame, number)[None], self._crops.boxes[number]
        followed = None if self._place is None else [_moved(self._place, box)]
        mesh = self._reader.read(picture, followed)
        if followed is not None and mesh.confidence[0] <= SURE:
            mesh = self._reader.read(picture)
        if mesh.confidence[0] <= SURE:
            self._place = None
            return None
        points = from_crop(mesh.points, box[None], SIDE)
        self._place = place_of(points[0])
        return points


def _moved(place: Square, box: NDArray[np.int64]) -> Square:
    """A square of a frame in the crop of this box."""
    scale = SIDE / int(box[2])
    return replace(place, x=(place.x - box[0]) * scale, y=(place.y - box[1]) * scale, side=place.side * scale)
