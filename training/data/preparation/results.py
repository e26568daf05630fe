"""What stages read of each other's results, and how their files are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.media.reader import VideoReader
from keysync.media.source import Facts as Told

from .division import within
from .faces import Faces, Grid
from .stage import Facts, Place
from .videos import Range, Video

JUDGED = 8


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> Facts:
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
    return {}


def ranges_of(place: Place, stage: str) -> list[Range]:
    """The clips to work on."""
    return within([(start, stop) for start, stop in read_json(place.of(stage, "clips.json"))], place.segment)


def grid_of(place: Place) -> Grid:
    pts = np.load(place.of("shots", "pts.npy"), allow_pickle=False)
    return Grid.of(pts, VideoReader(place.video.path).info.time_base, read_json(place.of("shots", "shots.json")))


def reader_of(place: Place, stage: str) -> VideoReader:
    """The video, which knows what a pass over it told: where its clock begins anew, it is not jumped in."""
    reader = VideoReader(place.video.path)
    reader.recall(Told(**place.facts[stage]["told"]))
    return reader


def faces_of(place: Place) -> Faces:
    return Faces.load(place.of("faces", "faces.npz"))


def waveform_of(place: Place) -> Tensor:
    """The sound (n,) of the whole video, of which memory holds what is used; writing to it changes no file."""
    return torch.from_numpy(np.load(place.of("sound", "waveform.npy"), mmap_mode="c", allow_pickle=False))


def judged_frames(start: int, stop: int) -> NDArray[np.int64]:
    """The frames of a clip that stand for all: up to `JUDGED`, evenly spaced."""
    return np.unique(np.linspace(start, stop - 1, JUDGED).round().astype(np.int64))


def key_of(video: Video, start: int) -> str:
    return f"{video.id}-{start:06}"
