"""Finds what covers a mouth, such as a hand or a microphone, in the video itself: nothing is marked by hand.

Each frame's lower face is unfolded (`unfolded`) and compared with how the same shot usually shows it (`usual`); a small
network decides which of the differences are a thing before the face (`occlusion_network`). What it is sure of spreads
to what it finds likely, and only what is there in two frames in a row counts. docs/occluders.md says how well it works.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..media.extras import Extras
from ..media.info import VideoInfo
from ..media.source import Facts, FrameSource
from .face import Frame
from .occlusion_network import network_inputs, occlusion_network
from .track import FaceTrack
from .unfolded import COLUMNS, ROWS, Unfolding
from .usual import Region, Texture, Usual

# What users write instead of a mask video.
AUTO = "auto"
# Frames of a shot that its usual look is taken from, and how often it is taken again without what covers it.
SAMPLED, ROUNDS = 40, 2
# The chance from which a texel is surely, likely, or possibly covered.
SURE, LIKELY, POSSIBLE = 0.8, 0.45, 0.2
# Texels of a thing, and those of them that are sure; how far it moves from frame to frame.
LEAST, LEAST_SURE, REACH = 24, 8, 4
# The share of frames from which a thing is there nearly always.
NEARLY_ALL = 0.8
# Ranges of frames that a note names one by one.
NAMED = 6

Chances = NDArray[np.float32]


class FoundOccluder:
    """What covers the mouth as masks (h, w, 3) for each frame of a source: a `FrameSource`, drawn when picked.

    It keeps about two kilobytes for each frame in which something is found, and the 68 points of one shape per shot.
    """

    path = None
    extras = Extras()

    def __init__(self, source: FrameSource, pts: NDArray[np.int64], track: FaceTrack) -> None:
        self._source, self._pts, self._track = source, pts, track
        self.name = f"what covers the face in {source.name}"
        self._shapes: dict[int, NDArray[np.float64]] = {}
        self._found: dict[int, bytes] = {}
        self._last: tuple[int, Unfolding] | None = None

    def add_shot(self, shot: int, unfolding: Unfolding) -> None:
        self._shapes[shot], self._last = unfolding.shape, (shot, unfolding)

    def add(self, number: int, chances: Chances) -> None:
        """Adds a frame with the chance (ROWS, COLUMNS) of each texel, 0 where it is not covered."""
        self._found[number] = zlib.compress(np.round(chances * 255).astype(np.uint8).tobytes(), 1)

    @property
    def info(self) -> VideoInfo:
        """See `FrameSource`."""
        return self._source.info

    @property
    def numbers(self) -> list[int]:
        """The frames in which something covers the mouth."""
        return sorted(self._found)

    def chances(self, number: int) -> Chances:
        """The chance of each texel of a frame: (ROWS, COLUMNS)."""
        if number not in self._found:
            return np.zeros((ROWS, COLUMNS), np.float32)
        levels = np.frombuffer(zlib.decompress(self._found[number]), np.uint8).reshape(ROWS, COLUMNS)
        return (levels / 255).astype(np.float32)

    def mask(self, number: int) -> Region:
        """Where something covers the mouth in a frame: (h, w)."""
        size = self._track.size
        if number not in self._found:
            return np.zeros(size, np.bool_)
        values = torch.from_numpy(self.chances(number))
        folded = self._unfolding(int(self._track.shot[number])).fold(values, self._track.landmarks[number], size)
        return folded > LIKELY

    def masks(self) -> Iterator[tuple[int, Region]]:
        """Number and mask (h, w) of each frame in which something covers the mouth."""
        for number in self.numbers:
            yield number, self.mask(number)

    def points(self, number: int) -> list[tuple[float, float]]:
        """A point (x, y) inside each thing that covers the mouth in a frame, in pixels, the largest thing first."""
        things = _things(self.chances(number))
        places = self._unfolding(int(self._track.shot[number])).places(self._track.landmarks[number])
        height, width = self._track.size
        inside = (places >= 0).all(-1) & (places[..., 0] < width) & (places[..., 1] < height)
        points = []
        names, sizes = torch.unique(things[things > 0], return_counts=True)
        for name in names[sizes.argsort(descending=True)].tolist():
            depth = _depth((things == name) & torch.from_numpy(inside))
            if bool(depth.any()):
                row, column = divmod(int(depth.argmax()), COLUMNS)
                points.append((float(places[row, column, 0]), float(places[row, column, 1])))
        return points

    def notes(self) -> Iterator[str]:
        """Notes for the report, a line each."""
        count, shown = len(self._found), int(self._track.found.sum())
        if not count:
            yield f"occluders: nothing covers the mouth in the {shown} frames that show the face"
            return
        spans = _ranges(self.numbers)
        named = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans[:NAMED])
        more = f" and {len(spans) - NAMED} more ranges" if len(spans) > NAMED else ""
        yield f"occluders: something covers the mouth in {count} of {shown} frames: {named}{more}"
        if count > NEARLY_ALL * shown:
            yield (
                "occluders: few frames show the whole mouth, so the masks are less exact: check the result, or use a "
                "mask video"
            )

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """See `FrameSource`."""
        yield from zip(self._pts.tolist(), self.pick(self._pts, range(len(self._pts))), strict=True)

    def timestamps(self) -> NDArray[np.int64]:
        """See `FrameSource`."""
        return self._pts

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`."""
        for number in indices:
            yield np.repeat(self.mask(number)[..., None].astype(np.uint8) * 255, 3, -1)

    def facts(self) -> Facts:
        """See `FrameSource`."""
        return self._source.facts()

    def fingerprint(self) -> str:
        """By what was found in which frame."""
        return self._digest

    def recall(self, facts: Facts) -> None:
        """Nothing: its facts are those of its source."""

    @cached_property
    def _digest(self) -> str:
        digest = sha256(np.ascontiguousarray(self._track.landmarks).tobytes())
        for number in self.numbers:
            digest.update(f"{number} ".encode() + self._found[number])
        return digest.hexdigest()

    def _unfolding(self, shot: int) -> Unfolding:
        last = self._last
        if last is None or last[0] != shot:
            last = self._last = shot, Unfolding(self._shapes[shot])
        return last[1]


def find_occluder(
    source: FrameSource, pts: NDArray[np.int64], track: FaceTrack, on_frame: Callable[[], None] = lambda: None
) -> FoundOccluder:
    """What covers the mouth of the tracked face in each frame; `on_frame` is called for each: it may raise to stop."""
    found = FoundOccluder(source, pts, track)
    for shot in np.unique(track.shot[track.found]).tolist():
        numbers = np.flatnonzero(track.found & (track.shot == shot))
        some = numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), SAMPLED)).round().astype(np.int64)]
        unfolding = Unfolding.of(track.landmarks[some])
        found.add_shot(shot, unfolding)

        def unfolded(chosen: NDArray[np.int64], by: Unfolding = unfolding) -> Iterator[tuple[Texture, Region]]:
            for number, frame in zip(chosen.tolist(), source.pick(pts, chosen.tolist()), strict=True):
                yield by.texture(frame, track.landmarks[number])

        usual = usual_look(list(unfolded(some)))

        def chances(chosen: NDArray[np.int64], look: Usual = usual) -> Iterator[tuple[int, Chances]]:
            for number, (texture, shown) in zip(chosen.tolist(), unfolded(chosen), strict=True):
                on_frame()
                yield number, chance(texture, shown, look)

        for number, covered in lasting(chances(numbers)):
            found.add(number, covered)
    return found


def usual_look(seen: Sequence[tuple[Texture, Region]]) -> Usual:
    """How unfolded frames usually look, where nothing covers them; each is a texture and which texels it shows."""
    textures, shown = np.stack([texture for texture, _ in seen]), np.stack([there for _, there in seen])
    usual = Usual.of(textures, shown)
    for _ in range(ROUNDS):
        chances = [chance(texture, there, usual) for texture, there in seen]
        covered = F.max_pool2d(torch.from_numpy(np.stack(chances))[:, None], 5, 1, 2)[:, 0].numpy() > POSSIBLE
        usual = Usual.of(textures, shown & ~covered)
    return usual


@torch.inference_mode()
def chance(texture: Texture, shown: Region, usual: Usual) -> Chances:
    """The chance, 0..1, that each texel of an unfolded frame is covered: (ROWS, COLUMNS)."""
    inputs = torch.from_numpy(network_inputs(texture, shown, usual))[None]
    chances: Chances = occlusion_network()(inputs)[0].sigmoid().numpy()
    return np.where(shown, chances, 0)


def lasting(frames: Iterable[tuple[int, Chances]]) -> Iterator[tuple[int, Chances]]:
    """Number and chances of the frames in which things are found, without all that is there in a single frame only.

    Frames are neighbours where their numbers are; a frame without neighbours keeps all.
    """
    window: list[tuple[int, Chances, Tensor]] = []  # the last frames with the numbers of their things by texel

    def judged(at: int) -> Iterator[tuple[int, Chances]]:
        number, chances, things = window[at]
        beside = [other for n, _, other in window if abs(n - number) == 1]
        if beside and bool(things.any()):
            near = _grown(torch.stack(beside).amax(0).float(), 2 * REACH + 1) > 0
            kept = torch.unique(things[near])
            things = torch.where(torch.isin(things, kept[kept > 0]), things, 0)
        if bool(things.any()):
            # A margin, so that the half-covered edge is where it was found.
            area = _grown((things > 0).float(), 3).numpy()
            yield number, np.where(area > 0, chances, 0)

    for number, chances in frames:
        window.append((number, chances, _things(chances)))
        if len(window) > 1:
            yield from judged(len(window) - 2)
        window = window[-2:]
    if window:
        yield from judged(len(window) - 1)


def _things(chances: Chances) -> Tensor:
    """The number of the thing that covers each texel (ROWS, COLUMNS), 0 for none: connected, likely, somewhere sure."""
    values = torch.from_numpy(chances)
    sure, likely = values > SURE, values > LIKELY
    if int(sure.sum()) < LEAST_SURE:
        return torch.zeros(values.shape, dtype=torch.int64)
    labels = torch.arange(1, values.numel() + 1, dtype=torch.float32).view(values.shape) * likely
    while True:
        spread = _grown(labels, 3) * likely
        if bool((spread == labels).all()):
            break
        labels = spread
    things = labels.long()
    size, certain = torch.bincount(things.flatten()), torch.bincount(things[sure], minlength=int(things.max()) + 1)
    keep = (size >= LEAST) & (certain >= LEAST_SURE)
    keep[0] = False
    return torch.where(keep[things], things, 0)


def _grown(values: Tensor, side: int) -> Tensor:
    """The largest value around each texel."""
    return F.max_pool2d(values[None, None], side, 1, side // 2)[0, 0]


def _depth(area: Tensor) -> Tensor:
    """How many texels each texel of an area is away from its border."""
    depth, left = torch.zeros(area.shape), area.float()
    while bool(left.any()):
        depth += left
        left = 1 - _grown(F.pad(1 - left, (1, 1, 1, 1), value=1.0), 3)[1:-1, 1:-1]
    return depth


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as ranges (first, last)."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1] = spans[-1][0], number
        else:
            spans.append((number, number))
    return spans
