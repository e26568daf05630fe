"""What a dub changed of its source's picture: the seam, the colour of the skin, who it is, and all outside the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..face.crop import Crops
from ..face.likeness import likeness, likeness_reader
from ..face.masks import MASKS
from ..method import PUBLISHED_CROP_SCALE
from .region import changeable
from .seam import GRAIN, REACH, steepness

if TYPE_CHECKING:
    from ..face.track import FaceTrack

Frame = NDArray[np.uint8]

# Crops of the published size: their pixels are those in which a mask and its border are looked at.
SIDE = 512
# Looks, colours and seams are read in every so many frames.
EVERY = 5
# Pixels of a block, whose mean change compression leaves small, and the levels that no one sees.
BLOCK, UNSEEN = 16, 3.0
# The skin whose colour is compared: inside the jaw line, and so many times as far from the mouth as the outer lips.
SKIN, BEYOND = "jaw", 1.7
OUTER_LIPS = slice(48, 60)
# Pixels around the mask that its border needs.
MARGIN = 24


@dataclass(frozen=True)
class Change:
    """A dub beside its source; None where no frame tells.

    seam: how much steeper the picture is across the border of the mask, 1 is unseen; colour_shift: how far the mean
    colour of the skin around the mouth is off, of 255; identity: the likeness of both faces, 1 for the same. Outside
    the mask, outside_largest is the largest change of a pixel, and outside_block that of the mean of a block of 16 x 16
    pixels, which compression hardly changes; both of 255.
    """

    seam: float | None
    colour_shift: float | None
    identity: float | None
    outside_largest: int
    outside_block: float

    @property
    def unchanged(self) -> bool:
        """Whether nothing that can be seen changed outside the mask."""
        return self.outside_block <= UNSEEN


class ChangeMeter:
    """Compares the frames of a dub with those of its source, one by one; `track` is that of the source.

    `mask` names the region that the dub may change.
    """

    def __init__(self, track: FaceTrack, mask: str) -> None:
        self._track, self._mask = track, mask
        self._crops = Crops.of(track, (SIDE, SIDE), PUBLISHED_CROP_SCALE)
        self._number = 0
        self._steep: list[tuple[float, float]] = []
        self._shifts: list[float] = []
        self._alike: list[float] = []
        self._largest, self._block = 0, 0.0

    def add(self, source: Frame, dub: Frame) -> None:
        """Compares the next pair of frames (h, w, 3)."""
        number, self._number = self._number, self._number + 1
        inside = np.zeros(source.shape[:2], np.bool_)
        if self._track.found[number]:
            landmarks = self._track.landmarks[number]
            inside = changeable(self._crops, number, landmarks, self._mask, source.shape[:2])
            if number % EVERY == 0:
                self._look(source, dub, number, inside)
        change = dub.astype(np.int16) - source
        self._largest = max(self._largest, int(np.abs(change[~inside]).max(initial=0)))
        self._block = max(self._block, largest_block(change, inside))

    def finish(self) -> Change:
        """The figures of all frames."""
        of_source, of_dub = np.array(self._steep).reshape(-1, 2).sum(0).tolist()
        return Change(
            seam=of_dub / of_source if of_source > 0 else None,
            colour_shift=_mean(self._shifts),
            identity=_mean(self._alike),
            outside_largest=self._largest,
            outside_block=self._block,
        )

    def _look(self, source: Frame, dub: Frame, number: int, inside: NDArray[np.bool_]) -> None:
        landmarks = self._track.landmarks[number]
        looks = [likeness_reader().look(frame, landmarks) for frame in (source, dub)]
        if looks[0] is not None and looks[1] is not None:
            self._alike.append(likeness(looks[0], looks[1]))
        size = max(1.0, int(self._crops.boxes[number, 2]) / SIDE)
        near = around(inside)
        steep = [steepness(frame[near], inside[near], REACH * size, GRAIN) for frame in (source, dub)]
        self._steep.append((steep[0], steep[1]))
        skin = self._skin(number)
        if skin.any():
            first, second = (self._crops.cut(frame, number).numpy()[skin].mean(0) for frame in (source, dub))
            self._shifts.append(255 * float(np.linalg.norm(second - first)))

    def _skin(self, number: int) -> NDArray[np.bool_]:
        """(SIDE, SIDE): the skin around the mouth in the crop."""
        points = self._crops.points(self._track.landmarks[number], number)
        skin = MASKS[SKIN](points, self._crops.size).numpy() > 0.5
        lips = points[OUTER_LIPS].numpy()
        centre, reach = lips.mean(0), BEYOND * np.ptp(lips, axis=0).max() / 2
        y, x = np.mgrid[:SIDE, :SIDE]
        away: NDArray[np.bool_] = np.hypot(x - centre[0], y - centre[1]) > reach
        return skin & away


def largest_block(change: NDArray[np.int16], inside: NDArray[np.bool_]) -> float:
    """The largest mean change (levels) of a block of a frame's change (h, w, 3), of those well outside a mask (h, w).

    Blocks beside the mask do not count: compression spreads its changes there.
    """
    h, w = inside.shape
    if min(h, w) < BLOCK:
        return 0.0
    mean = F.avg_pool2d(torch.from_numpy(change.mean(-1, dtype=np.float32))[None, None], BLOCK)
    taken = F.max_pool2d(torch.from_numpy(inside).float()[None, None], 3 * BLOCK, BLOCK, BLOCK)
    outside = taken[..., : mean.shape[-2], : mean.shape[-1]] == 0
    return float(mean.abs()[outside].max()) if bool(outside.any()) else 0.0


def around(mask: NDArray[np.bool_], margin: int = MARGIN) -> tuple[slice, slice]:
    """The rows and columns around a mask (h, w)."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(max(0, rows[0] - margin), rows[-1] + margin), slice(max(0, columns[0] - margin), columns[-1] + margin)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
