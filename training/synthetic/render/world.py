"""Clips of talking heads with their ground truth: shots, cuts, several people, occluders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter

from .identity import Identity
from .motion import Take
from .mouth import MouthShape
from .occluder import OCCLUDERS
from .portrait import Portrait
from .scene import Actor, Scene, Truth, framed

RATE = Fraction(25)
FACELESS = ("none", "empty", "away")


@dataclass(frozen=True)
class Clip:
    """A clip of `shots` shots of different people; `people` in each, 1 or 2, of whom the first speaks.

    `occluder` (a key of `OCCLUDERS` or "none") hides the mouth in a share `occluded` of each shot's frames; `faceless`
    ("empty": no person, "away": from behind) adds a shot without a face after the first one, `faceless_share` of the
    frames long. `person` speaks in the first shot. Size is (h, w).
    """

    size: tuple[int, int] = (256, 256)
    shots: int = 1
    people: int = 1
    occluder: str = "none"
    occluded: float = 0.5
    faceless: str = "none"
    faceless_share: float = 0.25
    liveliness: float = 1.0
    person: Identity | None = None

    def __post_init__(self) -> None:
        if self.occluder not in (*OCCLUDERS, "none"):
            raise KeySyncError(f"unknown occluder {self.occluder!r}: choose from {', '.join(OCCLUDERS)}, none")
        if self.faceless not in FACELESS:
            raise KeySyncError(f"unknown faceless shot {self.faceless!r}: choose from {', '.join(FACELESS)}")
        if self.shots < 1 or self.people not in (1, 2):
            raise KeySyncError(f"{self.shots} shots of {self.people} people: expected at least 1 shot of 1 or 2 people")


def clip(seed: int, mouths: Sequence[MouthShape], options: Clip | None = None) -> Iterator[Truth]:
    """Yields a frame per mouth, at 25 fps; the same seed, mouths and options give the same pixels.

    Raises `KeySyncError` if there are fewer frames than shots.
    """
    options = options or Clip()
    kinds = ["face"] * options.shots
    if options.faceless != "none":
        kinds.insert(1, options.faceless)
    if len(mouths) < len(kinds):
        raise KeySyncError(f"{len(mouths)} frames for {len(kinds)} shots: pass more mouths or fewer shots")
    weights = [options.faceless_share * options.shots if kind != "face" else 1.0 for kind in kinds]
    ends = np.round(np.cumsum(weights) / sum(weights) * len(mouths)).astype(int)
    ends = np.maximum.accumulate(np.maximum(ends, np.arange(len(kinds)) + 1))
    start = 0
    for shot, (kind, end) in enumerate(zip(kinds, ends.tolist(), strict=True)):
        rng = np.random.default_rng((seed, shot))
        scene = _scene(rng, options, kind, end - start, options.person if shot == 0 else None)
        for frame in range(end - start):
            yield scene.render(frame, (mouths[start + frame],), shot)
        start = end


def write_clip(path: Path, truths: Iterable[Truth]) -> Path:
    """Writes the pictures as a video without sound at 25 fps, and the truth as NAME.npz next to it."""
    kept: list[Truth] = []
    frames = iter(truths)
    first = next(frames, None)
    if first is None:
        raise KeySyncError(f"cannot write {path}: there are no frames")

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for truth in chain([first], frames):
            kept.append(truth)
            yield truth.picture

    h, w = first.picture.shape[:2]
    write_video(path, pictures(), (h, w))
    np.savez_compressed(path.with_suffix(".npz"), **_table(kept))  # type: ignore[arg-type] # none is allow_pickle
    return path


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]], size: tuple[int, int]) -> None:
    """Writes pictures of `size` (h, w) as a video without sound at 25 fps."""
    h, w = size
    with VideoWriter(path, PictureFormat(w, h, time_base=1 / RATE, rate=RATE)) as writer:
        for pts, picture in enumerate(pictures):
            writer.write(picture, pts)


def read_truth(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of `write_clip`, for n frames.

    landmarks (n, 68, 2); opening, width, shot (n,); occluder (n, h, w) bool; mouth (n, 5) in `MouthShape`'s order;
    others (n, people, 68, 2).
    """
    with np.load(path, allow_pickle=False) as file:
        table: dict[str, NDArray[np.generic]] = {name: file[name] for name in file.files}
    size = table.pop("size")
    packed = np.asarray(table["occluder"], dtype=np.uint8)
    table["occluder"] = np.unpackbits(packed, axis=-1, count=int(size[1])).astype(np.bool_)
    return table


def _table(truths: list[Truth]) -> dict[str, NDArray[np.generic]]:
    people = max(len(truth.others) for truth in truths)
    others = np.full((len(truths), people, 68, 2), np.nan, dtype=np.float32)
    for row, truth in zip(others, truths, strict=True):
        for place, points in zip(row, truth.others, strict=False):
            place[:] = points
    mouths = [truth.mouth for truth in truths]
    return {
        "landmarks": np.stack([truth.landmarks for truth in truths]),
        "opening": np.array([truth.opening for truth in truths], dtype=np.float32),
        "width": np.array([truth.width for truth in truths], dtype=np.float32),
        "shot": np.array([truth.shot for truth in truths]),
        "occluder": np.packbits(np.stack([truth.occluder for truth in truths]), axis=-1),
        "size": np.array(truths[0].picture.shape[:2]),
        "mouth": np.array([(m.open, m.wide, m.round, m.teeth, m.tongue) for m in mouths], dtype=np.float32),
        "others": others,
    }


def _scene(rng: np.random.Generator, options: Clip, kind: str, frames: int, person: Identity | None) -> Scene:
    if kind == "empty":
        return Scene(rng, options.size, ())
    actors = []
    for number in range(options.people):
        sampled = Identity.sample(rng)
        portrait = Portrait(person if person is not None and number == 0 else sampled)
        take = Take.sample(rng, frames, options.liveliness)
        if options.people == 1:
            camera = framed(options.size, rng.uniform(0.46, 0.54), rng.uniform(0.43, 0.48), rng.uniform(0.93, 1.08))
        else:
            near = number == 0
            across, zoom = (
                (rng.uniform(0.30, 0.34), 0.80) if near else (rng.uniform(0.74, 0.78), rng.uniform(0.5, 0.62))
            )
            camera = framed(options.size, across, 0.46 if near else 0.42, zoom)
        actors.append(Actor(portrait, camera, take.away() if kind == "away" else take))
    return Scene(rng, options.size, tuple(actors), options.occluder if kind == "face" else "none", options.occluded)
