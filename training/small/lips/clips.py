"""Real clips of people talking: how the mouth stands in each frame, measured on a face mesh, and the sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.face.face import Face
from keysync.face.finder.finder import FaceFinder
from keysync.face.mesh import MeshReader
from keysync.face.mouth import MEASURED, measure
from keysync.face.shots import ShotCounter
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.media.source import Frame

SUFFIXES = (".mp4", ".mpg", ".mov", ".mkv", ".webm")
SURE = 0.9  # least confidence of a mesh that counts


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip of n frames: `times` (n,) in seconds from the first, `mouth` (n, 4) in the order of `MEASURED`, NaN where
    no face is seen, the number of the shot of each frame (n,), and the sound (s,) float32 at 16 kHz."""

    name: str
    times: NDArray[np.float64]
    mouth: NDArray[np.float32]
    shots: NDArray[np.int64]
    sound: NDArray[np.float32]


def find_clips(folder: Path) -> list[Path]:
    """The videos in a folder and below it, sorted."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def read_clip(file: Path) -> Clip:
    """Measures the largest face of a clip. Raises `KeySyncError` for a file without sound or video."""
    sound, _ = read_speech(file)
    reader = VideoReader(file)
    stamps, rows, shots = zip(*_mouths(reader), strict=True)
    times = (np.array(stamps, np.float64) - stamps[0]) * float(reader.info.time_base)
    return Clip(file.name, times, np.stack(rows), np.array(shots, np.int64), sound.numpy())


def _mouths(reader: VideoReader) -> Iterator[tuple[int, NDArray[np.float32], int]]:
    """The timestamp of each frame, the mouth of its largest face (4,), and its shot."""
    finder, meshes, counter = FaceFinder(), MeshReader(), ShotCounter()
    before: list[Face] = []
    shot = -1
    for stamp, frame in reader.frames():
        known, shot = shot, counter.add(frame)
        before = finder.detect(frame, before if shot == known else ())
        yield stamp, _mouth(meshes, frame, before), shot


def _mouth(meshes: MeshReader, frame: Frame, faces: list[Face]) -> NDArray[np.float32]:
    placed = [(face, face.place) for face in faces if face.place is not None]
    if placed:
        _, place = max(placed, key=lambda pair: pair[1].side)
        read = meshes.read(torch.from_numpy(np.ascontiguousarray(frame))[None], [place])
        if read.confidence[0] >= SURE:
            mouth: NDArray[np.float32] = measure(read.points)[0]
            return mouth
    return np.full(len(MEASURED), np.nan, np.float32)
