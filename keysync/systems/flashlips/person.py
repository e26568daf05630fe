"""What FlashLips knows of a person in a shot: reference frames, and lips vectors of their own speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...face.mesh import Meshes, MeshReader, as_bytes
from ...face.mouth import MEASURED, measure
from ..rewrite.head import Poses, make_reference
from .networks import MOST_REFERENCES

# Frames of a shot that are looked at, evenly spread.
MOST_SEEN = 32
# One more than are used: a frame that is a reference itself is drawn with the others.
KEPT = MOST_REFERENCES + 1
# What differs as much: the head turned by so many radians, and the mouth by as many eye distances.
TURN, MOUTH = 0.3, 0.15
# A mesh below this confidence is on no face, and of a mouth that is less visible than this share something covers some.
SURE, VISIBLE = 0.5, 0.8


@dataclass(frozen=True, eq=False)
class Person:
    """`numbers` are the source's frames that are references, the first ones furthest apart, and `latents` (r, 4, h, w)
    theirs; `lips` (k, width) are lips vectors of frames of the shot."""

    numbers: Sequence[int]
    latents: Tensor
    lips: Tensor

    def references(self, frame: int, count: int) -> tuple[int, ...]:
        """The places of up to `count` references for drawing a frame of the source: never the frame itself, unless
        there is no other."""
        others = [place for place, number in enumerate(self.numbers) if number != frame]
        return tuple((others or range(1))[:count])


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame that may become a reference: its `number`, its `crop` (H, W, 3) uint8, and how much of the mouth's mask
    is visible, in pixels."""

    number: int
    crop: Tensor
    visible: float

    @classmethod
    def of(cls, number: int, crop: Tensor, mask: Tensor) -> Seen:
        """A frame with its crop (H, W, 3), 0..1, and the mask (H, W) of its mouth, as in `Look`."""
        return cls(number, as_bytes(crop), float(mask.sum()))

    @property
    def picture(self) -> Tensor:
        """The crop, 0..1."""
        return self.crop.float() / 255


class Gallery:
    """Collects frames of a shot, of which it keeps some, evenly spread: memory does not grow with the shot."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._count, self._stride = 0, 1

    def takes_next(self) -> bool:
        """Whether the next frame is one that it keeps; counts it."""
        self._count += 1
        return (self._count - 1) % self._stride == 0

    def add(self, seen: Seen) -> None:
        """Keeps a frame, as `takes_next` has said."""
        self.seen.append(seen)
        if len(self.seen) > MOST_SEEN:
            self.seen, self._stride = self.seen[::2], 2 * self._stride


def choose(reader: MeshReader, seen: Sequence[Seen]) -> list[Seen]:
    """Up to `KEPT` frames that differ most in the head's pose and in the mouth; what covers the mouth is avoided."""
    most = max(one.visible for one in seen)
    open_to_view = [one for one in seen if one.visible >= VISIBLE * most]
    meshes = reader.read(torch.stack([one.crop for one in open_to_view]))
    sure = np.flatnonzero(meshes.confidence >= SURE)
    if len(sure):
        open_to_view = [open_to_view[number] for number in sure]
        meshes = Meshes(meshes.points[sure], meshes.confidence[sure])
    return [open_to_view[number] for number in furthest(_looks(meshes), KEPT)]


def _looks(meshes: Meshes) -> NDArray[np.float64]:
    """How the heads are turned and the mouths stand (n, 5): as far apart as they look different."""
    reference = make_reference(meshes.points)
    turns = Poses.of(meshes.points, reference).angles / TURN
    mouths = measure(meshes.points)[:, [MEASURED.index("opening"), MEASURED.index("width")]] / MOUTH
    return np.concatenate([turns, mouths], 1)


def furthest(points: NDArray[np.float64], count: int) -> list[int]:
    """Up to `count` of the points (n, d): the one next to the median, then each the furthest from those before."""
    chosen = [int(np.argmin(np.linalg.norm(points - np.median(points, axis=0), axis=1)))]
    near = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        near[chosen[-1]] = -1  # of frames that are all alike each comes once
        chosen.append(int(np.argmax(near)))
        near = np.minimum(near, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
