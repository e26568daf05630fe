"""Landmarks of a video as a JSON file, which can be saved, edited and used instead of a detector.

    {"fps": 25.0, "size": [width, height], "frames": [null, [[x, y], ... 68 points], ...]}

Points are in pixels of the video (see `face`); null marks a frame without a face.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError
from ..whole import whole_file
from .face import POINTS, Face, Points


@dataclass(frozen=True, eq=False)
class LandmarksFile:
    """The content of a file: fps and size (height, width) of the video, and (68, 2) points or None for each frame."""

    fps: float
    size: tuple[int, int]
    frames: tuple[Points | None, ...]

    def faces(self, frame: int) -> list[Face]:
        """The face in a frame, in the form that detectors return: a list of one face, or an empty list."""
        points = self.frames[frame]
        return [] if points is None else [Face.of(points, 1.0)]


def read_landmarks_file(
    path: str | Path, *, size: tuple[int, int] | None = None, frames: int | None = None
) -> LandmarksFile:
    """Reads the landmarks file of a video with this `size` (height, width) and number of `frames`.

    Surplus frames are dropped. Raises `KeySyncError` for a file in another format, of a video with another size, and
    for one with fewer frames than the video.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeySyncError(f"cannot read the landmarks {path}: {error.strerror}; check the path") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise KeySyncError(f"the landmarks {path} are not JSON ({error}): {_EXPECTED}") from error
    found = _parse(path, content)
    if size is not None and size != found.size:
        raise KeySyncError(
            f"the landmarks {path} are for {found.size[1]}x{found.size[0]} pixels but the video has {size[1]}x{size[0]}"
            ": use the landmarks of this video"
        )
    if frames is not None and len(found.frames) < frames:
        raise KeySyncError(
            f"the landmarks {path} cover {len(found.frames)} frames but the video has {frames}: add null for frames "
            "without a face"
        )
    return found if frames is None else LandmarksFile(found.fps, found.size, found.frames[:frames])


def write_landmarks_file(
    path: str | Path, frames: Sequence[NDArray[np.floating[Any]] | None], *, size: tuple[int, int], fps: float
) -> None:
    """Writes points (68, 2) or None for each frame, atomically; points with NaN are written as null.

    `size` is (height, width). Raises `KeySyncError` if the file cannot be written.
    """
    path = Path(path)
    rows = [
        None if points is None or not np.isfinite(points).all() else np.round(points, 3).tolist() for points in frames
    ]
    content = json.dumps({"fps": float(fps), "size": [size[1], size[0]], "frames": rows})
    try:
        with whole_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    except OSError as error:
        raise KeySyncError(f"cannot write the landmarks {path}: {error.strerror}; choose another file") from error


_EXPECTED = 'expected {"fps": number, "size": [width, height], "frames": [null or 68 x [x, y], ...]}'


def _parse(path: Path, content: Any) -> LandmarksFile:
    if not isinstance(content, dict) or not {"fps", "size", "frames"} <= content.keys():
        raise KeySyncError(f"the landmarks {path} lack fps, size or frames: {_EXPECTED}")
    fps, size, frames = content["fps"], content["size"], content["frames"]
    if not _is_number(fps) or fps <= 0:
        raise KeySyncError(f"the landmarks {path} have fps {fps!r}: {_EXPECTED}")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise KeySyncError(f"the landmarks {path} have size {size!r}: {_EXPECTED}")
    if not isinstance(frames, list):
        raise KeySyncError(f"the landmarks {path} have no list of frames: {_EXPECTED}")
    points = tuple(None if frame is None else _points(path, index, frame) for index, frame in enumerate(frames))
    return LandmarksFile(float(fps), (size[1], size[0]), points)


def _points(path: Path, index: int, frame: Any) -> Points:
    pairs = isinstance(frame, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in frame
    )
    if not pairs or len(frame) != POINTS:
        raise KeySyncError(
            f"frame {index} of the landmarks {path} is neither null nor 68 pairs of numbers: {_EXPECTED}"
        )
    return np.array(frame, dtype=np.float32)


def _is_number(value: Any) -> bool:
    """Whether it is a number in the range of image sizes and frame rates; Python's JSON allows NaN and infinity."""
    return type(value) in (int, float) and abs(value) < 1e9
