"""Real talking clips: their frames, the track of their face, and the beginning of their sound."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.track import FaceTrack, no_face
from keysync.job import FaceSource, survey
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.media.source import Frame
from keysync.method import SAMPLE_RATE

logger = logging.getLogger(__name__)

# Of a longer clip only the beginning is followed; a dub may take its mouths from there.
LONGEST = 20.0
# Fewer frames with a face, at 25 a second, give no correlation worth the name.
FEWEST = 25


@dataclass(frozen=True, eq=False)
class RealClip:
    """A clip of a person who talks: `source` begins with the clip's first frame and lasts up to `LONGEST` seconds.

    `times` (n,) in seconds since the first frame and `track` (n frames) cover all of `source`; `sound` (m,) at 16 kHz
    is what is heard in the first seconds, and `frames` how many frames they show.
    """

    name: str
    source: VideoReader
    times: NDArray[np.float64]
    track: FaceTrack
    sound: Tensor
    frames: int

    @classmethod
    def read(cls, path: Path, seconds: float) -> RealClip:
        """The clip of a file and the first `seconds` of its sound.

        Raises `KeySyncError` for a file without picture, sound, or a face for a second.
        """
        source = VideoReader(path, 0, LONGEST)
        sound = read_speech(path)[0][: round(seconds * SAMPLE_RATE)]
        pts, track = survey(source, FaceSource())
        if not track.found.any():
            raise KeySyncError(f"{no_face(track)} of {path.name}: expected a person who talks")
        times = (pts - pts[0]) * float(source.info.time_base)
        frames = int(np.searchsorted(times, len(sound) / SAMPLE_RATE))
        seen = int(track.found[:frames].sum())
        if seen < FEWEST:
            raise KeySyncError(f"{path.name} shows a face in {seen} of its first {frames} frames: expected {FEWEST}")
        return cls(path.name, source, times, track, sound, frames)

    def pictures(self) -> Iterator[Frame]:
        """The first `frames` frames."""
        return islice((frame for _, frame in self.source.frames()), self.frames)


def read_clips(folders: Sequence[Path], seconds: float) -> tuple[list[RealClip], dict[str, str]]:
    """All clips of some folders in the order of their names, and why each other file is left out.

    Raises `KeySyncError` for a folder that does not exist, and where fewer than two clips remain.
    """
    clips: list[RealClip] = []
    left_out: dict[str, str] = {}
    for path in files_of(folders):
        try:
            clips.append(RealClip.read(path, seconds))
        except KeySyncError as error:
            left_out[path.name] = str(error)
        logger.info("%s: %s", path.name, left_out.get(path.name, "followed"))
    if len(clips) < 2:
        named = ", ".join(map(str, folders))
        reasons = "".join(f"; {reason}" for reason in left_out.values())
        raise KeySyncError(
            f"{len(clips)} talking clips in {named}: expected at least 2, one to dub and one to speak{reasons}"
        )
    return clips, left_out


def files_of(folders: Iterable[Path]) -> Iterator[Path]:
    """The files of some folders in the order of their names, hidden ones left out.

    Raises `KeySyncError` for a folder that does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            raise KeySyncError(f"{folder} is not a folder: expected one with talking clips")
        yield from sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
