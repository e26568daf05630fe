"""The face of each shot that training uses, on the network's grid of 25 frames a second.

Grid frame j is the source frame nearest to j / 25 seconds after the video's first frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.crop import crop_boxes
from keysync.face.face import POINTS, Detector, Points
from keysync.face.track import FaceTrack, Tracker, from_landmarks
from keysync.media.reader import VideoReader
from keysync.method import NETWORK_RATE, PUBLISHED_CROP_SCALE
from keysync.timeline import Seconds

Integers = NDArray[np.int64]
# Frames of a shot that segments on both sides of a joint see: a second.
OVERLAP = NETWORK_RATE


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of a video of n frames, whose grid has N.

    source (N,): the source frame of each grid frame; pts (n,) of all source frames, in the reader's time base;
    landmarks (N, 68, 2) in source pixels, NaN without a face; shot (N,): number of the shot; size (h, w) of a frame.
    """

    source: Integers
    pts: Integers
    landmarks: Points
    shot: Integers
    size: tuple[int, int]

    @cached_property
    def found(self) -> NDArray[np.bool_]:
        """Whether each frame has a face: (N,)."""
        return np.logical_not(np.isnan(self.landmarks).any((1, 2)))

    def runs(self, least: int, most: int = 500) -> list[tuple[int, int]]:
        """Ranges [start, stop) of consecutive grid frames with one face in one shot, `least` to `most` frames long.

        Longer ones are split into as few equal parts as possible. Raises `KeySyncError` unless 1 <= least <= most.
        """
        if not 1 <= least <= most:
            raise KeySyncError(f"clips of {least} to {most} frames: expected 1 <= least <= most")
        found = []
        state = np.where(self.found, self.shot, -1)
        changes = np.flatnonzero(np.diff(state)) + 1
        for start, stop in pairwise([0, *changes.tolist(), len(state)]):
            if not self.found[start]:
                continue
            parts = math.ceil((stop - start) / most)
            if stop - start < least * parts:  # more than `most`, but not enough for two
                parts, stop = 1, min(stop, start + most)
            edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
            found += [(a, b) for a, b in pairwise(edges) if b - a >= least]
        return found

    def boxes(
        self, start: int, stop: int, scale: float = PUBLISHED_CROP_SCALE, still: bool = False
    ) -> NDArray[np.int64]:
        """The crop's box x, y, side for grid frames `start`..`stop` of one run, smoothed: (stop - start, 3).

        With `still` it is that of the middle frame throughout.
        """
        count, middle = stop - start, (start + stop) // 2
        if still:
            start, stop = middle, middle + 1
        # Of these frames alone: the track of a whole film would take longer than its boxes.
        boxes = crop_boxes(from_landmarks(list(self.landmarks[start:stop]), self.size), 0, stop - start, scale)
        return np.repeat(boxes, count, axis=0) if still else boxes

    def save(self, path: Path) -> None:
        """Writes an npz file; equal faces give equal bytes."""
        with path.open("wb") as file:
            arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
            np.savez(file, **arrays)  # type: ignore[arg-type] # none is allow_pickle

    @classmethod
    def load(cls, path: Path) -> Faces:
        """Reads a file of `save`. Raises `KeySyncError` for a missing, truncated or other file."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays: dict[str, NDArray[Any]] = {field.name: stored[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise KeySyncError(f"cannot read the faces {path} ({error}): delete it and prepare again") from error
        h, w = arrays.pop("size").tolist()
        return cls(**arrays, size=(h, w))


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a video of n frames, N long.

    pts (n,) and times (n,), in seconds from the first on, of all source frames; source (N,): the source frame of each
    grid frame; shots (n,): the number of the shot, as found beforehand, of each source frame.
    """

    pts: Integers
    times: Seconds
    source: Integers
    shots: Integers

    @classmethod
    def of(cls, pts: Integers, time_base: Fraction, shots: Sequence[tuple[float, float]]) -> Grid:
        """The grid of a video with these pts and shots, in seconds as `find_shots` returns them."""
        times = (pts - pts[0]) * float(time_base)
        # Minus half a microsecond: a cut has the time of a frame, except for rounding.
        starts = np.array([start for start, _ in shots]) - 5e-7
        number = np.searchsorted(starts, times, side="right").astype(np.int64)
        return cls(pts, times, grid(times).astype(np.int64), number)

    @property
    def cuts(self) -> list[int]:
        """The first grid frame of each shot, and N."""
        starts = np.flatnonzero(np.diff(self.shots[self.source])) + 1
        return [0, *starts.tolist(), len(self.source)]

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The range of grid frames that is seen for `start`..`stop`: up to `OVERLAP` more, in the same shots."""
        shots = self.shots[self.source]
        first = np.searchsorted(shots, shots[start])
        last = np.searchsorted(shots, shots[stop - 1], side="right")
        return max(start - OVERLAP, int(first)), min(stop + OVERLAP, int(last))


def follow(reader: VideoReader, grid: Grid, detector: Detector, segment: tuple[int, int] | None = None) -> Faces:
    """Follows the largest face through each shot of a video, or through those frames that are seen for a segment.

    Reads each source frame on the grid once. The tracker's own cuts split the shots further; tracks are not smoothed or
    interpolated across cuts. Memory holds landmarks, no pictures.
    """
    start, stop = (0, len(grid.source)) if segment is None else grid.reach(*segment)
    source = grid.source[start:stop]
    used, index = np.unique(source, return_inverse=True)
    given = grid.shots[used]
    tracks: list[FaceTrack] = []
    tracker = Tracker()
    for position, frame in enumerate(reader.pick(grid.pts, used.tolist())):
        if position and given[position] != given[position - 1]:
            tracks.append(tracker.finish())
            tracker = Tracker()
        tracker.follow(frame, detector)
    tracks.append(tracker.finish())
    landmarks = np.concatenate([track.landmarks for track in tracks]).reshape(-1, POINTS, 2)
    number = np.concatenate([track.shot for track in tracks])
    cuts = np.concatenate(([False], (np.diff(number) != 0) | (np.diff(given) != 0)))
    shot = np.cumsum(cuts).astype(np.int64)
    return Faces(source, grid.pts, landmarks[index], shot[index], tracks[0].size)


def grid(times: Seconds) -> Integers:
    """The source frame (N,) nearest to each 25th of a second, given the times (n,) of the source frames from 0."""
    # Rounded, so that floating-point noise does not decide ties.
    count = math.floor(round(float(times[-1]) * NETWORK_RATE, 6) + 0.5) + 1
    middles = np.round((times[1:] + times[:-1]) / 2, 9)
    nearest: Integers = np.searchsorted(middles, np.round(np.arange(count) / NETWORK_RATE, 9)).astype(np.int64)
    return nearest
