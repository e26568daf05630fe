"""The mouths that a clip has to lend: up to `MOST` of its own, spread over shapes, poses and light.

They are collected frame by frame; pixels are kept of these alone. Each shot lends to itself alone, since the chosen
face may be another person's in the next; where its mouth stays closed, mouths are made of it (see `made`). Pixels are
those of crops, which have one side in a shot.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...face.finder.squares import Square
from ...face.mesh import MeshReader
from ...face.mouth import EYES, measure
from ..renderer import UnsuitableError
from .choose import Looks, Mouths
from .curve import Amplitude
from .head import Poses, make_reference
from .made import CLOSED, MADE, Closed, make_mouths
from .points import INNER, OUTER, POINTS, SEEN, chart, following, matte, parting
from .sightings import Seen, Sightings

# The side of the square around mouth and chin that is kept of a frame, of the crop's, and how far below the mouth its
# middle is in eye distances.
PATCH, LOWER = 0.5, 0.1
# How near to the crop's rim a mouth may be and the size of the spots that colours are read in, of the crop's side.
NEAR, SPOT = 0.005, 1 / 64
MOST = 300
# Below this confidence a mesh is on no face.
CONFIDENT = 0.9
# A mouth is sharp enough with this share of the usual detail.
SHARP = 0.5
# Something hides a mouth where colours differ from the usual ones by this much (0..1) at this share of its points. By
# shadows and turns alone, 1 point in 20 does.
UNUSUAL, HIDDEN = 0.12, 0.08
# A shot in which fewer of the mouths are free, in which the usual colours themselves are in doubt, lends none.
VISIBLE = 0.6
# A clip has mouths to lend if the gap between its lips varies by this much, in eye distances, over so many mouths.
VARIES, FEWEST = 0.05, 8
# Mouths are made of closed ones whose gap is usual: it differs from the median by no more, in eye distances.
STEADY = 0.015
# They are made where the face is seen well: eyes so many pixels apart, turned aside no further (depth between the eyes
# over their distance), and so many of the mouths free.
APART, ASIDE, FREE = 60, 0.5, 0.9
# What two mouths differ by where they are as different in each: opening, width, turn, log scale, log light.
UNLIKE = np.array([0.02, 0.04, 0.1, 0.1, 0.1, 0.15, 0.2])


class NothingToBorrowError(UnsuitableError):
    """The clip has no mouths to lend: another system can draw them."""


class Watcher:
    """Looks at the faces of crops of one shot, in order: each is sought where the one before was."""

    def __init__(self, reader: MeshReader) -> None:
        self._reader = reader
        self._last: Square | None = None

    def look(self, crop: Tensor, mask: Tensor) -> Seen:
        """crop (s, s, 3) uint8 and its mask (s, s)."""
        side = crop.shape[0]
        meshes = self._reader.read(crop[None], [self._last] if self._last else None)
        if self._last and meshes.confidence[0] < CONFIDENT:
            meshes = self._reader.read(crop[None])
        mesh, confidence = meshes.points[0], float(meshes.confidence[0])
        self._last = meshes.place(0) if confidence >= CONFIDENT else None
        mouth = mesh[[*OUTER, 200], :2]
        inside = ((mouth > NEAR * side) & (mouth < (1 - NEAR) * side)).all()
        x, y = mouth.round().astype(int).T.clip(0, side - 1)
        whole = bool(inside and (mask[y, x] > 0.5).all())
        return Seen(mesh, confidence, measure(mesh[None])[0], _colours(crop, mesh), whole)


def _colours(crop: Tensor, mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (p, 3), 0..1, around the points `SEEN`."""
    side = crop.shape[0]
    spots = round(1 / SPOT) if side >= 1 / SPOT else side
    planes = F.interpolate(crop.permute(2, 0, 1)[None].float() / 255, (spots, spots), mode="area")  # h w c -> 1 c h w
    grid = torch.from_numpy(mesh[list(SEEN), :2] * 2 / side - 1)[None, None]
    found = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    colours: NDArray[np.float32] = found[0, :, 0].T.numpy()
    return colours


@dataclass(frozen=True, eq=False)
class Mouth:
    """A mouth that may be lent: the frame's `number` in the clip, `detail` its sharpness, `patch` (p, p, 3) uint8 the
    crop from `corner` (x, y) on."""

    number: int
    seen: Seen
    detail: float
    patch: Tensor
    corner: tuple[int, int]

    @cached_property
    def features(self) -> NDArray[np.float64]:
        """What mouths are spread over, each in units of `UNLIKE`."""
        mesh = self.seen.mesh.astype(np.float64)
        across, down = mesh[EYES[1]] - mesh[EYES[0]], mesh[152] - mesh[168]
        eyes = float(np.linalg.norm(across))
        turn = (across[2] / eyes, down[2] / float(np.linalg.norm(down)), across[1] / eyes)
        features: NDArray[np.float64] = np.array([*self.seen.measures[:2], *turn, np.log(eyes), self.seen.light])
        spread: NDArray[np.float64] = features / UNLIKE
        return spread


class Collector:
    """Collects the mouths of a clip, in order."""

    def __init__(self) -> None:
        self._shots: dict[int, list[Mouth]] = defaultdict(list)
        self._held = 0
        self._seen = Sightings()

    def add(self, number: int, shot: int, crop: Tensor, seen: Seen) -> None:
        """A frame: its number in the clip, its crop (s, s, 3) uint8, as large as others of the shot, and what was seen
        there."""
        self._seen.add(number, seen)
        if seen.confidence < CONFIDENT or not seen.whole:
            return
        mouth = seen.mesh[[13, 14], :2].mean(0)
        eyes = float(np.linalg.norm(seen.mesh[EYES[0]] - seen.mesh[EYES[1]]))
        side = crop.shape[0]
        size = round(PATCH * side)
        left = round(float(mouth[0]) - size / 2)
        top = round(float(mouth[1]) + LOWER * eyes - size / 2)
        left, top = (min(max(edge, 0), side - size) for edge in (left, top))
        patch = crop[top : top + size, left : left + size].clone()
        self._shots[shot].append(Mouth(number, seen, _detail(patch), patch, (left, top)))
        self._held += 1
        if self._held > MOST:
            self._drop()

    def _drop(self) -> None:
        """Drops, of the most alike pair in the shot that has most mouths, the less sharp one."""
        mouths = max(self._shots.values(), key=len)
        features = np.stack([mouth.features for mouth in mouths])
        apart = ((features[:, None] - features) ** 2).sum(-1)
        np.fill_diagonal(apart, np.inf)
        pair = np.unravel_index(int(apart.argmin()), apart.shape)
        mouths.pop(int(min(pair, key=lambda index: mouths[index].detail)))
        self._held -= 1

    def finish(self) -> Bank:
        """The bank. Raises `NothingToBorrowError` where no shot has mouths to lend."""
        people = {shot: person for shot, mouths in self._shots.items() if (person := _person(mouths)) is not None}
        if not people:
            raise NothingToBorrowError(
                "the clip has no mouths to lend: its mouth is hidden, small, or open and still, and rewrite draws "
                "with the clip's own; choose another system or a clip that shows the person speaking, or closer"
            )
        return Bank(people, self._seen)


@dataclass(frozen=True, eq=False)
class Person:
    """A face that lends its k mouths to itself.

    `reference` (468, 3); `mouths` to choose from; `settled` (k, n, 3): `POINTS` of the mouths in the reference pose;
    `points` (k, n, 2) where they are in `patches` (k, p, p, 3) uint8; `usual` (p, 3): the usual colours of `SEEN`;
    `made`: the mouths are not the clip's own but made of its closed ones.
    """

    reference: NDArray[np.float64]
    mouths: Mouths
    amplitude: Amplitude
    settled: NDArray[np.float64]
    points: NDArray[np.float32]
    patches: Tensor
    usual: NDArray[np.float32]
    made: bool = False

    @cached_property
    def following(self) -> NDArray[np.float64]:
        return following(self.reference)

    @cached_property
    def parting(self) -> NDArray[np.float64]:
        return parting(self.reference)

    @cached_property
    def chart(self) -> Tensor:
        return chart(self.reference)

    @cached_property
    def matte(self) -> Tensor:
        return matte(self.reference)

    def hides(self, seen: Seen) -> bool:
        """Whether something is before the face."""
        return seen.confidence < CONFIDENT or bool(_unusual(seen.colours[None], self.usual)[0] > HIDDEN)


@dataclass(frozen=True, eq=False)
class Bank:
    """The faces of a clip by shot, and what was seen of each frame in a survey."""

    people: dict[int, Person]
    seen: Sightings


def _person(mouths: list[Mouth]) -> Person | None:
    """The face of a shot, None if it has no mouths to lend."""
    if len(mouths) < FEWEST:
        return None
    colours = np.stack([mouth.seen.colours for mouth in mouths])
    detail = np.array([mouth.detail for mouth in mouths])
    usual = np.median(colours, axis=0)
    seen = _unusual(colours, usual) <= HIDDEN
    if seen.mean() < VISIBLE:
        return None
    fit = seen & (detail > SHARP * np.median(detail))
    kept = [mouth for mouth, good in zip(mouths, fit, strict=True) if good]
    if len(kept) < FEWEST:
        return None
    measures = np.stack([mouth.seen.measures for mouth in kept])
    amplitude = Amplitude.of(measures)
    meshes = np.stack([mouth.seen.mesh for mouth in kept])
    reference = make_reference(meshes)
    poses = Poses.of(meshes, reference)
    settled = poses.settle(meshes)
    if amplitude.opening[1] - amplitude.opening[0] < VARIES:
        if np.median(measures[:, 0]) > CLOSED or seen.mean() < FREE or not _seen_well(meshes):
            return None
        return _with_made_mouths(kept, reference, poses, settled, usual)
    return Person(
        reference,
        Mouths(
            measures[:, :2].astype(np.float64),
            settled[:, [*INNER, *OUTER], :2],
            Looks(poses.angles, np.log(poses.scale), np.array([mouth.seen.light for mouth in kept])),
            np.array([mouth.number for mouth in kept]),
        ),
        amplitude,
        settled[:, list(POINTS)],
        meshes[:, list(POINTS), :2] - np.array([mouth.corner for mouth in kept], np.float32)[:, None],
        torch.stack([mouth.patch for mouth in kept]),
        usual,
    )


def _seen_well(meshes: NDArray[np.float32]) -> bool:
    """Whether faces (n, 468, 3) are large and turned to the camera."""
    across = meshes[:, EYES[1]] - meshes[:, EYES[0]]
    apart = np.linalg.norm(across, axis=1)
    return bool(np.median(apart) >= APART and np.median(np.abs(across[:, 2]) / apart) <= ASIDE)


def _with_made_mouths(
    kept: list[Mouth],
    reference: NDArray[np.float64],
    poses: Poses,
    settled: NDArray[np.float64],
    usual: NDArray[np.float32],
) -> Person:
    """The face of a shot in which the mouth stays closed: its mouths are made of some of these, in all poses."""
    gaps = np.array([mouth.seen.measures[0] for mouth in kept])
    steady = np.flatnonzero(np.abs(gaps - np.median(gaps)) <= STEADY)  # others are misread
    some = steady[_spread([kept[index] for index in steady], MOST // MADE)].tolist()
    mouths, measures, bases = [], [], []
    for base in some:
        points = settled[base, list(POINTS)]
        closed = Closed(points, kept[base].patch, kept[base].corner, poses.of_one(base))
        made = make_mouths(closed, reference)
        mouths += made
        measures += [kept[base].seen.measures[:2] + one.change for one in made]
        bases += [base] * len(made)
    found = np.array(measures)
    places = [POINTS.index(point) for point in (*INNER, *OUTER)]
    own = np.stack([one.settled for one in mouths])
    low, high = found.min(0).tolist(), found.max(0).tolist()
    rest = float(np.median([kept[base].seen.measures[1] for base in some]))
    return Person(
        reference,
        Mouths(
            found.astype(np.float64),
            own[:, places, :2],
            Looks(poses.angles[bases], np.log(poses.scale[bases]), np.array([kept[base].seen.light for base in bases])),
            2 * np.arange(len(mouths)),  # none follows another
        ),
        Amplitude((low[0], high[0]), (low[1], high[1]), rest),
        own,
        np.stack([one.points for one in mouths]).astype(np.float32),
        torch.stack([one.patch for one in mouths]),
        usual,
        made=True,
    )


def _spread(mouths: list[Mouth], count: int) -> list[int]:
    """The indices of so many mouths, or all: each is the one most unlike those before, from the sharpest on."""
    features = np.stack([mouth.features for mouth in mouths])
    chosen = [int(np.argmax([mouth.detail for mouth in mouths]))]
    apart = ((features - features[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count and apart.max() > 1:
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, ((features - features[chosen[-1]]) ** 2).sum(1))
    return chosen


def _unusual(colours: NDArray[np.float32], usual: NDArray[np.float32]) -> NDArray[np.float64]:
    """The share of points where the colours (n, p, 3) of faces differ from the usual ones (p, 3) whatever the light:
    (n,)."""
    gain = np.median(usual.mean(-1) / np.maximum(colours.mean(-1), 0.02), axis=1)[:, None, None]
    share: NDArray[np.float64] = (np.abs(colours * gain - usual).mean(-1) > UNUSUAL).mean(1)
    return share


def _detail(patch: Tensor) -> float:
    """How much fine detail a patch (h, w, 3) uint8 has."""
    luma = patch.float().mean(-1)
    return float(
        (luma[1:-1, 1:-1] * 4 - luma[2:, 1:-1] - luma[:-2, 1:-1] - luma[1:-1, 2:] - luma[1:-1, :-2]).abs().mean()
    )
