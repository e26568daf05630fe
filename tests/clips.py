"""Small videos, speech and landmarks that tests make, and cheap stand-ins for the network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from keysync.media.info import PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.writer import VideoWriter
from keysync.network.stage import ENDS, Windows
from keysync.progress import Moment
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import OnStep

from .media.test_audio import tones, write_sound

Frame = NDArray[np.uint8]
WIDTH, HEIGHT = 96, 80


def picture(number: int, shot: int = 0, width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """A textured picture that moves a little from frame to frame; shots look wholly different."""
    y, x = np.mgrid[:height, :width].astype(float)
    planes = [np.sin((x + number) / 9 + k) * np.cos(y / (7 + k)) for k in range(3)]
    light = 60 if shot % 2 == 0 else 190
    levels: NDArray[np.float64] = light + 40 * np.stack(planes, -1) + 10 * np.eye(3)[shot % 3]
    return levels.clip(0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: Iterable[Frame],
    *,
    rate: Fraction = Fraction(25),
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    lossless: bool = False,
) -> Path:
    """A video without sound; timestamps 0, 1, 2, ... of one frame each unless given."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    like = PictureFormat(width, height, time_base or 1 / rate, rate)
    with VideoWriter(path, like, lossless=lossless) as writer:
        for frame, stamp in zip(frames, pts or range(len(frames)), strict=True):
            writer.write(frame, stamp)
    return path


def write_speech(path: Path, seconds: float, rate: int = 16_000) -> Path:
    return write_sound(path, tones(seconds, rate), rate, "pcm_s16le")


def write_landmarks(
    path: Path, points: Sequence[NDArray[np.float32] | None], size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """A landmarks file; `size` is (width, height)."""
    frames = [None if face is None else face.tolist() for face in points]
    path.write_text(json.dumps({"fps": 25.0, "size": size, "frames": frames}))
    return path


def read_frames(path: Path) -> list[Frame]:
    return [frame for _, frame in VideoReader(path).frames()]


class Quiet:
    """Progress that only counts: [total, done] of each work."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Any]] = {}
        self.moments: list[Moment] = []
        self.said: list[str] = []

    def show(self, moment: Moment) -> None:
        self.parts[moment.work] = [moment.total, moment.done]
        self.moments.append(moment)

    def say(self, line: str) -> None:
        self.said.append(line)


@dataclass
class CheapStages:
    """Stands in for `generate.sample`: numbers that depend on all that the stages are given."""

    identities: list[Tensor] = field(default_factory=list)
    noise: list[Tensor] = field(default_factory=list)

    def sample(
        self, stage: Any, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None = None
    ) -> Tensor:
        """Each frame by itself, but for the window's mean: known outside the mask, a blend of everything inside."""
        self.noise.extend(noise)
        ends = stage.spec.reference == ENDS
        if not ends:
            self.identities.extend(windows.reference)
        reference = windows.reference.sum(1, keepdim=True) if ends else windows.reference[:, None]
        spoken = windows.features.mean((2, 3))[..., None, None, None]
        made = 0.2 * noise + 0.3 * reference + spoken + 0.1 * windows.known.mean((1, 2, 3, 4), keepdim=True)
        if on_step is not None:
            on_step(len(windows) * sampling.network_evaluations(stage.spec))
        made = torch.where(windows.mask > 0, made, windows.known)
        if ends:
            made[:, [0, -1]] = windows.reference
        return made

    def install(self, monkeypatch: Any) -> CheapStages:
        monkeypatch.setattr("keysync.systems.keysync.windows.sample", self.sample)
        return self


class CheapVAE:
    """Stands in for the VAE: a latent is the mean of its 8 x 8 pixels, and they are it."""

    batch, downscale, encoder, source = 16, 8, "none", "cheap"

    def encode(self, images: Tensor) -> Tensor:
        means = F.avg_pool2d(images.movedim(-1, 1), 8)
        return torch.cat((means, means[:, :1]), 1)

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(latents[:, :3].clamp(0, 1), scale_factor=8.0, mode="nearest").movedim(1, -1)
