"""The lower face unfolded: where each texel of one picture of a person's mouth region is in each frame.

The grid of `ROWS` x `COLUMNS` texels covers the face from the bridge of the nose to well below the chin, in the mean
shape of the person's 68 points. A smooth map (a regularised thin-plate spline, Bookstein 1989) takes it to the points
of each frame, so that a texel shows the same place of the skin however the head turns and the mouth moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from .face import Frame, Points
from .pose import PLACES, yaws

# The part of the face, mm of the mean face of `pose`: x to the viewer's right, y down.
LEFT, RIGHT, TOP, BOTTOM = -84.0, 84.0, -20.0, 140.0
ROWS, COLUMNS = 112, 120
# Points that the mouth does not move.
BRIDGE = 27
STEADY = [number for number in PLACES if number < 48]
SMOOTHING = 0.02
# The least share of its width, or of its area, at which a texel tells what it shows; nearer to the middle, mm, the
# mouth changes the area too.
SEEN, BESIDE = 0.6, 25.0
# Degrees to the side up to which a small area is no turn: a hand moves the points of the jaw, which makes texels small.
FRONT = 16.0
# Frame pixels per texel from which a frame is sampled more coarsely.
COARSE = 1.5
# Steps of the inverse map; the map is close to a similarity.
STEPS = 6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """Millimetres of the mean face to pixels: x' = a x - b y + c, y' = b x + a y + d."""

    a: float
    b: float
    c: float
    d: float

    @classmethod
    def of(cls, landmarks: Points) -> Similarity:
        """The one that fits the steady points of a frame (68, 2) best."""
        seen = landmarks[STEADY].astype(np.float64)
        shape = np.array([PLACES[number][:2] for number in STEADY])
        p, q = shape - shape.mean(0), seen - seen.mean(0)
        a = float((p * q).sum() / (p * p).sum())
        b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / (p * p).sum())
        x, y = shape.mean(0)
        return cls(a, b, float(seen[:, 0].mean() - a * x + b * y), float(seen[:, 1].mean() - b * x - a * y))

    @property
    def scale(self) -> float:
        """Pixels per mm."""
        return float(np.hypot(self.a, self.b))

    def turned(self, offsets: Array) -> Array:
        """Offsets (..., 2) in mm as pixels."""
        x, y = offsets[..., 0], offsets[..., 1]
        return np.stack([self.a * x - self.b * y, self.b * x + self.a * y], -1)

    def back(self, offsets: Array) -> Array:
        """Offsets (..., 2) in pixels as mm."""
        x, y, scale = offsets[..., 0], offsets[..., 1], self.a**2 + self.b**2
        return np.stack([self.a * x + self.b * y, self.a * y - self.b * x], -1) / scale

    def to_shape(self, points: Array) -> Array:
        return self.back(points - np.array([self.c, self.d]))


class Unfolding:
    """The map of a face of this shape (68, 2) in mm."""

    def __init__(self, shape: Array) -> None:
        self.shape = shape
        self._basis = _spline(shape)

    @classmethod
    def of(cls, landmarks: Points) -> Unfolding:
        """The map of one person's face, by the points (n, 68, 2) of frames that show it."""
        shapes = [Similarity.of(points).to_shape(points.astype(np.float64)) for points in landmarks]
        return cls(np.median(shapes, axis=0))

    @cached_property
    def face(self) -> NDArray[np.bool_]:
        """The texels between the jaw, without its ends beside the ears, and the bridge of the nose: (ROWS, COLUMNS)."""
        outline = (self.shape[[*range(3, 14), BRIDGE]] - np.array([LEFT, TOP])) * np.array([COLUMNS, ROWS])
        outline /= np.array([RIGHT - LEFT, BOTTOM - TOP])
        drawn = Image.new("L", (COLUMNS, ROWS))
        ImageDraw.Draw(drawn).polygon([(x, y) for x, y in outline.tolist()], fill=1)
        return np.asarray(drawn) > 0

    def places(self, landmarks: Points) -> Array:
        """Where each texel is in a frame with these points (68, 2): (ROWS, COLUMNS, 2) in pixels."""
        return (self._basis @ landmarks.astype(np.float64)).reshape(ROWS, COLUMNS, 2)

    def turned_away(self, landmarks: Points) -> NDArray[np.bool_]:
        """The texels of which a turn of the head shows less than `SEEN`: (ROWS, COLUMNS).

        Near the middle, and where the head is turned by at most `FRONT`, only their width counts.
        """
        similarity, places = Similarity.of(landmarks), self.places(landmarks)
        across, down = (similarity.back(np.gradient(places, axis=axis)) for axis in (1, 0))
        area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        wide, high = (RIGHT - LEFT) / COLUMNS, (BOTTOM - TOP) / ROWS
        small = (area < SEEN * wide * high) & (np.abs(texels()[..., 0]) > BESIDE)
        away: NDArray[np.bool_] = (small & (yaws(landmarks) > FRONT)) | (across[..., 0] < SEEN * wide)
        return away

    def texture(self, frame: Frame, landmarks: Points) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The unfolded face (ROWS, COLUMNS, 3), 0..255, of a frame (h, w, 3), and which texels the frame shows."""
        places = self.places(landmarks)
        (left, top), (right, bottom) = _window(places, frame.shape[:2])
        part = torch.from_numpy(np.ascontiguousarray(frame[top:bottom, left:right]))
        planes = part.permute(2, 0, 1)[None].float()  # h w c -> 1 c h w
        coarser = max(1.0, Similarity.of(landmarks).scale * (RIGHT - LEFT) / COLUMNS / COARSE)
        h, w = bottom - top, right - left
        if coarser > 1:
            size = max(1, round(h / coarser)), max(1, round(w / coarser))
            planes = F.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)
        at = (places - np.array([left, top])) / np.array([w, h]) * 2 - 1
        grid = torch.from_numpy(at.astype(np.float32))[None]
        seen = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
        shown: NDArray[np.bool_] = np.all((places >= 0) & (places <= np.array(frame.shape[1::-1])), axis=-1)
        texture: NDArray[np.float32] = seen[0].permute(1, 2, 0).numpy()
        return texture, shown

    def fold(self, values: Tensor, landmarks: Points, size: tuple[int, int]) -> NDArray[np.float32]:
        """Values (ROWS, COLUMNS) as a picture (h, w) of `size`; 0 beside the grid and above; below as its last row."""
        places = self.places(landmarks)
        similarity = Similarity.of(landmarks)
        result = np.zeros(size, np.float32)
        low = similarity.turned(np.array([0.0, BOTTOM - TOP]))  # as far again below
        (left, top), (right, bottom) = _window(np.concatenate([places, places[-1:] + low]), size)
        y, x = np.mgrid[top:bottom, left:right] + 0.5
        wanted = np.stack([x, y], -1)
        field = torch.from_numpy(places.astype(np.float32)).permute(2, 0, 1)[None]
        at = similarity.to_shape(wanted)
        for _ in range(STEPS):
            inside = np.stack([at[..., 0].clip(LEFT, RIGHT), at[..., 1].clip(TOP, BOTTOM)], -1)
            mapped = _sampled(field, inside).permute(1, 2, 0).numpy().astype(np.float64)
            at = at + similarity.back(wanted - mapped - similarity.turned(at - inside))
        found = _sampled(values[None, None].float(), at)[0].numpy()
        inside_grid = (at[..., 0] >= LEFT) & (at[..., 0] <= RIGHT) & (at[..., 1] >= TOP)
        result[top:bottom, left:right] = np.where(inside_grid, found, 0)
        return result


def texels() -> Array:
    """The middles of all texels in mm: (ROWS, COLUMNS, 2)."""
    y = TOP + (np.arange(ROWS) + 0.5) * (BOTTOM - TOP) / ROWS
    x = LEFT + (np.arange(COLUMNS) + 0.5) * (RIGHT - LEFT) / COLUMNS
    return np.stack(np.meshgrid(x, y), -1)


def _spline(shape: Array) -> Array:
    """The weights (ROWS x COLUMNS, 68) of points at `shape` (68, 2) in the map of each texel."""
    count, scale = len(shape), RIGHT - LEFT
    knots, at = shape / scale, texels().reshape(-1, 2) / scale
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _radial(knots, knots) + SMOOTHING * np.eye(count)
    system[:count, count:] = np.concatenate([np.ones((count, 1)), knots], 1)
    system[count:, :count] = system[:count, count:].T
    right = np.concatenate([_radial(at, knots), np.ones((len(at), 1)), at], 1)
    weights: Array = (right @ np.linalg.inv(system))[:, :count]
    return weights


def _radial(first: Array, second: Array) -> Array:
    squares = ((first[:, None] - second[None]) ** 2).sum(-1)
    bent: Array = 0.5 * squares * np.log(np.maximum(squares, 1e-12))
    return bent


def _window(places: Array, size: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Corners (x, y) of the part of a frame (h, w) that holds places in pixels, of one pixel at least."""
    h, w = size[:2]
    low, high = np.floor(places.reshape(-1, 2).min(0)) - 1, np.ceil(places.reshape(-1, 2).max(0)) + 2
    left, top = int(np.clip(low[0], 0, w - 1)), int(np.clip(low[1], 0, h - 1))
    return (left, top), (int(np.clip(high[0], left + 1, w)), int(np.clip(high[1], top + 1, h)))


def _sampled(planes: Tensor, at: Array) -> Tensor:
    """Planes (1, c, ROWS, COLUMNS) at places (h, w, 2) in mm: (c, h, w); outside, the nearest texel."""
    unit = (at - np.array([LEFT, TOP])) / np.array([RIGHT - LEFT, BOTTOM - TOP]) * 2 - 1
    grid = torch.from_numpy(unit.astype(np.float32))[None]
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
