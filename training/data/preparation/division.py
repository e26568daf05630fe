"""Where the work on a long video is divided into segments, and how their results are joined.

Faces are followed in segments that end at cuts, or inside a shot that is longer than a segment: then two segments see
some frames of each other, which tell whether both followed the same face. Clips are found in the joined faces, so none
is lost or found twice. What is made of clips is divided between them.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import Points

from .faces import Faces, Grid
from .videos import Range

# How far apart the points of the two segments are on average, over the face's size, where both follow the same face.
SAME_FACE = 0.1


def at_cuts(grid: Grid, longest: float) -> list[Range]:
    """Ranges of whole shots, of at most `longest` frames; a longer shot is divided into equal parts."""
    edges = [0]
    for start, stop in pairwise(grid.cuts):
        if stop - edges[-1] <= longest:
            continue
        if start > edges[-1]:
            edges.append(start)
        parts = math.ceil((stop - start) / longest)
        edges += [start + (stop - start) * part // parts for part in range(1, parts)]
    return list(pairwise([*edges, len(grid.source)]))


def between_clips(clips: Sequence[Range], longest: float) -> list[Range]:
    """Ranges from the start of a clip to the stop of one, of at most `longest` frames or of one clip."""
    found: list[Range] = []
    for start, stop in clips:
        if found and stop - found[-1][0] <= longest:
            found[-1] = found[-1][0], stop
        else:
            found.append((start, stop))
    return found


def within(clips: Iterable[Range], segment: Range | None) -> list[Range]:
    """The clips of a segment, or all of them."""
    return [clip for clip in clips if segment is None or segment[0] <= clip[0] < segment[1]]


def join_faces(grid: Grid, segments: Sequence[Range], parts: Sequence[Faces]) -> Faces:
    """The faces of a video, from those of its segments and of the frames that these see of each other."""
    points: list[Points] = []
    shots: list[NDArray[np.int64]] = []
    before: tuple[int, Faces] | None = None
    for (start, stop), faces in zip(segments, parts, strict=True):
        first, _ = grid.reach(start, stop)
        own = slice(start - first, stop - first)
        shot = faces.shot[own] - faces.shot[start - first]
        if before is not None:
            shot += shots[-1][-1] + (not _same_face(*before, first, faces, start))
        points.append(faces.landmarks[own])
        shots.append(shot)
        before = first, faces
    return Faces(grid.source, grid.pts, np.concatenate(points), np.concatenate(shots), parts[0].size)


def _same_face(first: int, faces: Faces, then: int, others: Faces, joint: int) -> bool:
    """Whether a face goes on at a joint: it is in one shot, and the segments agree on where it is in the frames that
    both see. `first` and `then` are the first frames that they see."""
    if then == joint or others.shot[joint - then] != others.shot[joint - then - 1]:
        return False
    one, other = faces.landmarks[then - first :], others.landmarks[: first + len(faces.landmarks) - then]
    both = ~np.isnan(one).any((1, 2)) & ~np.isnan(other).any((1, 2))
    if not both.any():
        return False
    apart = np.linalg.norm(one[both] - other[both], axis=2).mean(1)
    size = np.ptp(one[both], axis=1).max(1)
    return bool(np.median(apart / size) < SAME_FACE)


def link_files(folder: Path, parts: Sequence[Path], leave_out: str) -> None:
    """Puts the files of all parts into a folder, but for those of one name. They take no more space where the file
    system has links."""
    for file in (file for part in parts for file in sorted(part.iterdir()) if file.name != leave_out):
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copy(file, folder / file.name)
