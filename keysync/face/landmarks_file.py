"""Landmarks of a video as a JSON file, which can be saved, edited and used instead of a detector.

    {"fps": 25.0, "size": [width, height], "frames": [null, [[x, y], ... 68 points], ...]}

Points are in pixels of the video (see `face`); null marks a frame without a face.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError, one_line
from ..strict_json import DECODER, quoted
from ..whole import whole_file
from .face import POINTS, Face, Points

# Characters of a file: five hours at 25 frames per second. It is held in memory as text; its numbers are not, as they
# would take ten times as much.
MOST_CHARACTERS = 2**29
# Characters of a frame's points, or of any other value: 68 pairs of numbers take 1 200, and 8 000 if indented.
MOST_VALUE = 2**15
# Sides of a video in pixels.
MOST_SIDE = 2**16
# How far outside the frame a point may lie, in sides of the frame: faces reach over its edge, but not further.
FAR = 1.0
# Pixels that the points of a face extend over at least.
LEAST_FACE = 1.0
SPACE = re.compile(r"\s*")


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

    Surplus frames are dropped. Raises `KeySyncError` for a file in another format, of a video with another size, for
    one with fewer frames than the video, and for points that are not a face in the frame: all in one place, or far
    outside.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_CHARACTERS:
            raise ValueError(f"{path.stat().st_size} bytes, expected at most {MOST_CHARACTERS}")
        content = _content(path, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeySyncError(f"cannot read the landmarks {path}: {error.strerror}; check the path") from error
    except ValueError as error:
        raise KeySyncError(f"the landmarks {path} are not JSON ({one_line(error)}): {_EXPECTED}") from error
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
    if frames is not None:
        found = LandmarksFile(found.fps, found.size, found.frames[:frames])
    for index, points in enumerate(found.frames):
        if points is not None:
            _check_face(path, index, points, found.size)
    return found


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


def _content(path: Path, text: str) -> dict[str, Any]:
    """The values of the object in the text; "frames" is a list of points, each converted as it is read."""
    content: dict[str, Any] = {}
    if not _is_next(text, 0, "{"):
        _value(text, 0)
        return content
    at = _after(text, 0, "{")
    while not _is_next(text, at, "}"):
        if content:
            at = _after(text, at, ",")
        key, at = _value(text, at)
        at = _after(text, at, ":")
        if key in content or not isinstance(key, str):
            raise ValueError(f"key {quoted(key)} is not a text, or occurs twice")
        if key == "frames" and _is_next(text, at, "["):
            content[key], at = _frames(path, text, _after(text, at, "["))
        else:
            content[key], at = _value(text, at)
    if _end_of_space(text, _after(text, at, "}")) != len(text):
        raise ValueError("it goes on after its end")
    return content


def _frames(path: Path, text: str, at: int) -> tuple[list[Points | None], int]:
    """The points of the frames in the array whose first item begins there, and the place after the array."""
    frames: list[Points | None] = []
    while not _is_next(text, at, "]"):
        if frames:
            at = _after(text, at, ",")
        try:
            frame, at = _value(text, at)
        except ValueError as error:
            raise KeySyncError(
                f"frame {len(frames)} of the landmarks {path} is not JSON ({error}): {_EXPECTED}"
            ) from error
        frames.append(None if frame is None else _points(path, len(frames), frame))
    return frames, _after(text, at, "]")


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and the place after it."""
    at = _end_of_space(text, at)
    window = text[at : at + MOST_VALUE]
    try:
        value, end = DECODER.raw_decode(window)
    except (ValueError, RecursionError) as error:
        longer = f", or longer than {MOST_VALUE} characters" if len(window) == MOST_VALUE else ""
        raise ValueError(f"{one_line(error)}, in the value at character {at}{longer}") from error
    return value, at + end


def _after(text: str, at: int, mark: str) -> int:
    at = _end_of_space(text, at)
    if not text.startswith(mark, at):
        raise ValueError(f"{mark!r} missing at character {at}")
    return at + 1


def _is_next(text: str, at: int, mark: str) -> bool:
    return text.startswith(mark, _end_of_space(text, at))


def _end_of_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _parse(path: Path, content: dict[str, Any]) -> LandmarksFile:
    if not {"fps", "size", "frames"} <= content.keys():
        raise KeySyncError(f"the landmarks {path} lack fps, size or frames: {_EXPECTED}")
    fps, size, frames = content["fps"], content["size"], content["frames"]
    if not _is_number(fps) or fps <= 0:
        raise KeySyncError(f"the landmarks {path} have fps {quoted(fps)}: {_EXPECTED}")
    sides = isinstance(size, list) and len(size) == 2
    if not sides or not all(type(side) is int and 0 < side <= MOST_SIDE for side in size):
        raise KeySyncError(f"the landmarks {path} have size {quoted(size)}: {_EXPECTED}")
    if not isinstance(frames, list):
        raise KeySyncError(f"the landmarks {path} have no list of frames: {_EXPECTED}")
    return LandmarksFile(float(fps), (size[1], size[0]), tuple(frames))


def _points(path: Path, index: int, frame: Any) -> Points:
    pairs = isinstance(frame, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in frame
    )
    if not pairs or len(frame) != POINTS:
        raise KeySyncError(
            f"frame {index} of the landmarks {path} is neither null nor 68 pairs of numbers: {_EXPECTED}"
        )
    return np.array(frame, dtype=np.float32)


def _check_face(path: Path, index: int, points: Points, size: tuple[int, int]) -> None:
    """Raises for points (68, 2) that are not a face in a frame of this size (height, width)."""
    low, high, sides = points.min(0), points.max(0), np.array(size[::-1])
    if (high - low < LEAST_FACE).any():
        problem = "has all its points in one place or on one line"
    elif (low < -FAR * sides).any() or (high > (1 + FAR) * sides).any():
        problem = f"has points far outside the {size[1]}x{size[0]} pixels of the video"
    elif (high <= 0).any() or (low >= sides).any():
        problem = f"has a face outside the {size[1]}x{size[0]} pixels of the video"
    else:
        return
    raise KeySyncError(
        f"frame {index} of the landmarks {path} {problem}: expected the 68 points of a face in pixels, or null"
    )


def _is_number(value: Any) -> bool:
    """Whether it is a number in the range of image sizes and frame rates."""
    return type(value) in (int, float) and abs(value) < 1e9
