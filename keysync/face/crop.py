"""The square around the face that the network sees: one box a frame, and how pixels and points go there.

A box is (x, y, side) in whole source pixels, or one that is turned with the head (see `turn`). Points are continuous
pixel coordinates (see `face`). The box of the 68 points is made wider, square and smooth, smoother the less it moves,
as the cropping tool of the KeySync reference implementation does; that doubles it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..method import PUBLISHED_CROP_SCALE
from .pose import rolls
from .turn import HUNDREDTHS, REACH, Turned, rotation

if TYPE_CHECKING:
    from .face import Points
    from .track import FaceTrack

# Exponential smoothing: the share of the new box for a face at rest, what motion adds, and pixels of motion to add all.
STILL, MOVING, FULL_MOTION = 0.2, 0.6, 100.0
# Degrees of a head's roll that count as much as `FULL_MOTION` pixels.
FULL_TURN = 10.0
# How crops that are to keep the frame's detail are scaled where they must be.
NATIVE_SCALING = "bicubic"

Picture = NDArray[Any] | Tensor
Box = Sequence[int] | NDArray[np.int64]


def crop_boxes(
    track: FaceTrack,
    start: int,
    stop: int,
    scale: float = PUBLISHED_CROP_SCALE,
    align: bool = False,
    before: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Boxes (m, 3) of x, y, side for frames `start`..`stop` (exclusive), a run of the track.

    At rest a box is `scale` times as wide as that of the points. Each lies inside the frame and holds all of the
    frame's 68 points that a square inside the frame can. With `align` boxes are turned (m, 4), so that the eyes are
    level; each holds all points of a face that is smaller than the frame, and its corners may lie outside.

    A run that is cut piece by piece, without `align`, goes on smoothly where the pieces share `before` (3,), the
    smoothed centre and side of the frame before, NaN for none: it becomes that of the last frame.
    """
    points: NDArray[np.floating[Any]] = track.landmarks[start:stop]
    turns = _smooth_rolls(rolls(points)) if align else np.zeros(len(points))
    axes = np.stack([rotation(turn) for turn in turns])
    level = points @ axes if align else points  # the rows of a matrix are where the square's axes point to
    low, high = level.min(axis=1), level.max(axis=1)
    centres, sides = (low + high) / 2, scale * (high - low).max(axis=1)
    if align:
        centres = np.einsum("nij,nj->ni", axes, centres)
    boxes = np.zeros((stop - start, 4 if align else 3), dtype=np.int64)
    for frame, state in enumerate(_smooth(centres, sides, before)):
        boxes[frame] = (
            _turned_box(state, low[frame], high[frame], turns[frame], track.size)
            if align
            else _box(state, low[frame], high[frame], track.size)
        )
    return boxes


def _smooth(
    centres: NDArray[Any], sides: NDArray[Any], before: NDArray[np.float64] | None = None
) -> Iterator[NDArray[np.float64]]:
    """Smoothed centre and side (3,) of each frame; the array is the same in all, and `before` where that is given."""
    state = np.full(3, np.nan) if before is None else before
    if np.isnan(state).any():
        state[:] = *centres[0], sides[0]
    for centre, side in zip(centres, sides, strict=True):
        motion = float(np.hypot(*(centre - state[:2])))
        state += _trust(motion / FULL_MOTION) * (np.array([*centre, side]) - state)
        yield state


def _smooth_rolls(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (m,) smoothed as boxes are: whole hundredths of a degree."""
    smooth = np.unwrap(degrees, period=360)
    for frame in range(1, len(smooth)):
        turn = smooth[frame] - smooth[frame - 1]
        smooth[frame] = smooth[frame - 1] + _trust(abs(turn) / FULL_TURN) * turn
    return np.asarray(np.round(smooth * HUNDREDTHS) / HUNDREDTHS)


def _trust(motion: float) -> float:
    """The share of what is new that is followed, at a motion of 0 (at rest) to 1 and more."""
    return STILL + MOVING * min(1.0, motion)


@dataclass(frozen=True, eq=False)
class Crops:
    """How a face is cut out of each frame of a track.

    `boxes` (n, 3), or (n, 4) if they are turned; those of frames without the face are 0. Crops have the `size` (H, W),
    or, if they are `native`, at most this: the boxes of a shot are then equally large, and pixels of a face that is
    smaller are the frame's own.
    """

    boxes: NDArray[np.int64]
    size: tuple[int, int]
    native: bool = False

    @classmethod
    def of(
        cls, track: FaceTrack, size: tuple[int, int], scale: float, native: bool = False, align: bool = False
    ) -> Crops:
        """The crops of a whole track, of boxes `scale` times as wide as the face; `align`: turned with the head."""
        boxes = np.zeros((len(track.found), 4 if align else 3), dtype=np.int64)
        for start, stop in track.runs():
            boxes[start:stop] = crop_boxes(track, start, stop, scale, align)
        if native:
            for shot in np.unique(track.shot).tolist():
                mine = track.found & (track.shot == shot)
                if mine.any():
                    boxes[mine] = even_boxes(boxes[mine], track.size)
        return cls(boxes, size, native)

    def size_of(self, number: int) -> tuple[int, int]:
        """The size (H, W) of a frame's crop."""
        side = int(self.boxes[number, 2])
        return (side, side) if self.native and side < min(self.size) else self.size

    def cut(self, frame: Picture, number: int) -> Tensor:
        """The crop (H, W, 3) of a frame, see `crop`."""
        return crop(frame, self.boxes[number], self.size_of(number), self.scaling)

    def points(self, landmarks: Picture, number: int) -> Tensor:
        """Points (68, 2) of a frame in its crop, see `to_crop`."""
        return to_crop(landmarks, self.boxes[number], self.size_of(number))

    @property
    def rolls(self) -> NDArray[np.float64]:
        """The degrees by which the crops of all frames with the face are turned, clockwise."""
        seen = self.boxes[self.boxes[:, 2] > 0]
        return seen[:, 3] / HUNDREDTHS if seen.shape[1] > 3 else np.zeros(len(seen))

    @property
    def scaling(self) -> str:
        """How pixels are scaled there and back: bilinear as networks are trained with, or to keep more detail."""
        return NATIVE_SCALING if self.native else "bilinear"


def even_boxes(boxes: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Boxes (n, 3) around the same middles that are all as large as the largest and inside frames of `size` (h, w).

    Those that are turned (n, 4) keep their middles.
    """
    h, w = size
    side = int(boxes[:, 2].max())
    corners = boxes[:, :2] - (side - boxes[:, 2:3]) // 2
    if boxes.shape[1] == 3:
        corners = np.clip(corners, 0, (w - side, h - side))
    return np.concatenate((corners, np.full((len(boxes), 1), side), boxes[:, 3:]), axis=1)


def _box(state: NDArray[np.float64], low: Points, high: Points, size: tuple[int, int]) -> NDArray[np.int64]:
    """The box in whole pixels for a smoothed centre and side; it moves or grows where points would stick out."""
    h, w = size
    need = int(np.ceil(high - np.floor(low)).max())
    side = max(1, min(max(round(state[2]), need), h, w))
    corner = np.round(state[:2] - side / 2)
    # First all of the face, then inside the frame: what the frame cuts off is lost.
    corner = np.minimum(np.maximum(corner, np.ceil(high) - side), np.floor(low))
    x, y = np.clip(corner, 0, (w - side, h - side)).astype(np.int64).tolist()
    return np.array([x, y, side], dtype=np.int64)


def _turned_box(
    state: NDArray[np.float64], low: NDArray[Any], high: NDArray[Any], degrees: float, size: tuple[int, int]
) -> NDArray[np.int64]:
    """The turned box for a smoothed centre and side; `low` and `high` of the points are along the square's axes."""
    axes, bounds = rotation(degrees), np.array(size[::-1])
    side = max(1, min(max(round(state[2]), int(np.ceil((high - low).max())) + 2), *size))
    # First where an upright one would be, then all of the face; the face's place in the crop matters more than corners
    # beyond the frame, where its edge goes on.
    centre = np.clip(state[:2], side / 2, bounds - side / 2)
    level = centre @ axes
    # A pixel less: corners are rounded.
    within = np.minimum(np.maximum(level, high - side / 2 + 1), low + side / 2 - 1)
    corner = np.round(axes @ within - side / 2)
    roll = (degrees + 180) % 360 - 180
    return np.array([*corner, side, round(roll * HUNDREDTHS)]).astype(np.int64)


def region(box: Box) -> tuple[slice, slice]:
    """The rows and columns of a frame that an upright box covers."""
    x, y, side = (int(value) for value in box)
    return slice(y, y + side), slice(x, x + side)


def crop(frame: Picture, box: Box, size: tuple[int, int], scaling: str = "bilinear") -> Tensor:
    """The box of a frame (h, w, 3), uint8 or float 0..1, as float32 0..1 at `size` (H, W): antialiased."""
    turned = Turned.of(box)
    h, w = frame.shape[:2]
    rows, columns = turned.region((h, w), REACH) if turned else region(box)
    part = torch.as_tensor(np.ascontiguousarray(frame[rows, columns]))
    planes = part.permute(2, 0, 1)[None].float()  # h w c -> 1 c h w
    if part.dtype == torch.uint8:
        planes = planes / 255
    if turned:
        planes = turned.cut(planes, (columns.start, rows.start))
    return resize(planes, size, scaling)[0].permute(1, 2, 0)


def resize(planes: Tensor, size: tuple[int, int], scaling: str = "bilinear") -> Tensor:
    """Planes (n, c, h, w) of 0..1 at another size, antialiased along what shrinks; `scaling` is a mode of torch's."""
    if planes.shape[-2:] == size:
        return planes
    scaled = F.interpolate(planes, size, mode=scaling, align_corners=False, antialias=True)
    return scaled.clamp_(0, 1) if scaling == "bicubic" else scaled


def from_crop(points: NDArray[np.floating[Any]], boxes: NDArray[np.int64], side: int) -> NDArray[np.float64]:
    """Points (n, k, 2 or 3) of crops of `side` pixels, cut at upright `boxes` (n, 3), in pixels of their frames."""
    placed = points.astype(np.float64) * (boxes[:, 2] / side)[:, None, None]
    placed[:, :, :2] += boxes[:, None, :2]
    return placed


def to_crop(landmarks: Picture, box: Box, size: tuple[int, int]) -> Tensor:
    """Points (..., 68, 2) of the source as float32 pixels of the crop of `size` (H, W), kept in 0..W-1 and 0..H-1."""
    x, y, side = (int(value) for value in box[:3])
    H, W = size
    points, turned = torch.as_tensor(landmarks).double(), Turned.of(box)
    points = turned.inside(points) if turned else points - torch.tensor([x, y])
    points = points * torch.tensor([W / side, H / side], dtype=torch.float64)
    return torch.minimum(points.clamp_min(0), torch.tensor([W - 1, H - 1])).float()
