"""Rendered talking clips that stand for real ones, and systems with mouths that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.crop import crop, crop_boxes
from keysync.media.info import PictureFormat
from keysync.media.source import SoundInMemory
from keysync.media.writer import VideoWriter
from keysync.method import SAMPLE_RATE
from keysync.systems.renderer import Clock, Needs, OnStep, Rendering, Span
from training.evaluation.film import Film, talk_film
from training.evaluation.real.clips import RealClip
from training.synthetic.voice.speech import Utterance

SIDE, FRAMES = 160, 40
CROPS = (160, 160)
Redraw = Callable[[Tensor, int], Tensor]


def write_clip(path: Path, frames: NDArray[np.uint8], said: Utterance) -> Path:
    """A lossless clip, 25 frames a second, with sound."""
    like = PictureFormat(frames.shape[2], frames.shape[1], time_base=Fraction(1, 25), rate=Fraction(25))
    sound = SoundInMemory("sound", torch.from_numpy(said.waveform)[None], SAMPLE_RATE)
    with VideoWriter(path, like, lossless=True, audio=sound, seconds=len(frames) / 25) as writer:
        for pts, frame in enumerate(frames):
            writer.write(frame, pts)
    return path


def write_clips(folder: Path, film: Film) -> None:
    """The clips first.mkv and second.mkv: of a film `FRAMES` long, and of another person."""
    write_clip(folder / "first.mkv", film.source.frames, film.spoken)
    other = talk_film(0, 1, FRAMES, SIDE)
    write_clip(folder / "second.mkv", other.source.frames, other.spoken)


@dataclass
class Player:
    """Draws each crop again with `redraw(crop, number)`; aims at `wanted` (n,) if it is given."""

    redraw: Redraw = lambda crop, _: crop
    wanted: NDArray[np.float64] | None = None
    refuses: str = ""
    origins: Mapping[str, str] = field(default_factory=lambda: {"player": "this test"})
    system: str = "Player"
    needs: Needs = field(default_factory=lambda: Needs(CROPS, 2.0, "mouth", ()))
    encoders: Mapping[str, Any] = field(default_factory=dict)

    def evaluations(self, frames: int, settings: Any) -> int:
        return frames

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        if self.refuses:
            raise KeySyncError(self.refuses)

        def render(span: Span) -> Iterator[Tensor]:
            if self.wanted is not None:
                span.account.curve("opening", 0, self.wanted[: span.frames].tolist())
            for number, (picture, _) in enumerate(span.crops):
                yield self.redraw(picture, number)

        return render


def showing(clip: RealClip, frames: NDArray[np.uint8]) -> Redraw:
    """The crops of other frames in the places of a clip's face."""
    boxes = crop_boxes(clip.track, 0, len(frames))
    return lambda _, number: crop(frames[number], boxes[number], CROPS)
