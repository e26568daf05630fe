"""Dubs a real clip through the library and measures the lossless result against the clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.dub import Settings
from keysync.face.crop import Crops
from keysync.face.mesh import MeshReader
from keysync.job import FaceSource, dub_file
from keysync.measure.region import changeable
from keysync.measure.sharpness import alike
from keysync.media.reader import VideoReader
from keysync.media.source import Frame, SoundInMemory
from keysync.method import SAMPLE_RATE
from keysync.report import DUBBED, Report
from keysync.systems.renderer import Look as FaceLook
from keysync.systems.renderer import Renderer, Surveyor

from .anchors import Anchors
from .clips import RealClip
from .flicker import bends, skin
from .looks import Floats, Look, look

# The tip, the base and the wings of the nose in the mesh.
NOSE = (1, 4, 2, 98, 327, 48, 278)
# Stages of a dub that happen once for a clip, however often it is dubbed.
BEFORE = ("face track", "survey")


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip, its anchors and what its source looks like in its first frames; `bends` of these frames."""

    clip: RealClip
    anchors: Anchors
    source: Look
    bends: Floats

    @classmethod
    def of(cls, clip: RealClip, reader: MeshReader) -> Scene:
        anchors = Anchors.of(clip.pictures(), clip.track, clip.frames, reader)
        source = look(clip.pictures(), anchors, reader)
        return cls(clip, anchors, source, bends(source))


class SurveyedOnce:
    """A `Surveyor` for all dubs of one clip: it is surveyed for the first of them."""

    def __init__(self, surveyor: Surveyor) -> None:
        self._surveyor = surveyor
        self._found: Renderer | None = None

    @classmethod
    def of(cls, surveyor: Surveyor) -> Surveyor:
        return cast("Surveyor", cls(surveyor))

    def survey(self, looks: Iterator[FaceLook], note: Callable[[str], None]) -> Renderer:
        if self._found is None:
            self._found = self._surveyor.survey(looks, note)
        return self._found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._surveyor, name)


@dataclass(frozen=True, eq=False)
class Dub:
    """Readings of one dub of n frames.

    `shown` (n,): the frame was dubbed and its face is seen; `wanted` (n,): the opening that the system aimed at, NaN
    where it says none, None for a system that never does. `sharpness` and `flicker` are sums over frames or blocks, of
    the dub and of the source; `nose` is the mean shift in eye distances; `outside` the largest change, 0..255, of a
    pixel that a dub may not change; `seconds` the time that the dub took after all of the clip was seen.
    """

    look: Look
    shown: NDArray[np.bool_]
    wanted: Floats | None
    sharpness: tuple[float, float]
    flicker: tuple[float, float]
    nose: float
    outside: int
    seconds: float

    @property
    def frames(self) -> int:
        return len(self.shown)


def dub(scene: Scene, speech: Tensor, renderer: Renderer, reader: MeshReader, folder: Path) -> Dub:
    """Dubs a clip with speech (m,) at 16 kHz in a file of `folder`. Raises `KeySyncError` as `dub_file` does."""
    clip, output = scene.clip, folder / "dub.mkv"
    sound = SoundInMemory("speech", speech[None], SAMPLE_RATE)
    face = FaceSource(track=clip.track)
    began = time.perf_counter()
    report = dub_file(clip.source, sound, output, renderer, Settings(), face, lossless=True)
    seconds = time.perf_counter() - began - sum(report.seconds_per_stage.get(stage, 0) for stage in BEFORE)
    outside = Outside(scene, report, renderer)
    made = look(outside.watched(frame for _, frame in VideoReader(output).frames()), scene.anchors, reader)
    output.unlink()
    count = len(made.opening)
    shown = _dubbed(report) & scene.anchors.seen[:count]
    blocks = skin(scene.source, made, scene.anchors) & (shown[:-2] & shown[1:-1] & shown[2:])[:, None, None]
    mine, own = bends(made)[blocks], scene.bends[: count - 2][blocks]
    return Dub(
        look=made,
        shown=shown,
        wanted=_wanted(report),
        sharpness=alike((made.opening[shown], made.sharpness[shown]), (scene.source.opening, scene.source.sharpness)),
        flicker=(float(mine.sum()), float(own.sum())),
        nose=_nose(scene.source, made, shown),
        outside=outside.largest,
        seconds=seconds,
    )


class Outside:
    """Compares a dub's frames with the source's as they pass: `largest` is the largest change outside the mask."""

    def __init__(self, scene: Scene, report: Report, renderer: Renderer) -> None:
        self.scene, self.report, self.largest = scene, report, 0
        track, needs = scene.clip.track, renderer.needs
        self._crops = Crops.of(track, needs.crop_size, needs.crop_scale, needs.native)

    def watched(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, which are the clip's from the first on."""
        dubbed, originals = _dubbed(self.report), self.scene.clip.pictures()
        for number, (frame, original) in enumerate(zip(frames, originals, strict=False)):
            difference = np.abs(frame.astype(np.int16) - original).max(-1)
            if dubbed[number]:
                landmarks = self.scene.clip.track.landmarks[number]
                difference[changeable(self._crops, number, landmarks, self.report.mask, original.shape[:2])] = 0
            self.largest = max(self.largest, int(difference.max()))
            yield frame


def silence(scene: Scene) -> Tensor:
    """No sound for as long as a clip's first frames last."""
    return torch.zeros(len(scene.clip.sound))


def _dubbed(report: Report) -> NDArray[np.bool_]:
    dubbed = np.zeros(report.frames, np.bool_)
    for part in report.ranges:
        dubbed[part.first : part.last + 1] = part.state == DUBBED
    return dubbed


def _wanted(report: Report) -> Floats | None:
    curve = report.curves.get("opening")
    return None if curve is None else np.array([np.nan if value is None else value for value in curve])


def _nose(source: Look, made: Look, shown: NDArray[np.bool_]) -> float:
    there = np.flatnonzero(shown)
    if not len(there):
        return np.nan
    moved = np.linalg.norm(made.points[there][:, NOSE, :2] - source.points[there][:, NOSE, :2], axis=-1).mean(1)
    return float((moved / source.eyes[there]).mean())
