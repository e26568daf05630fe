"""Whether a dub keeps its network busy: a 1080p clip, with a network and a VAE that take a known time and no processor.

They sleep, as a process does that waits for its GPU. Everything else is real: following, hearing, cropping, pasting,
writing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from keysync.dub import Settings
from keysync.job import FaceSource, dub_file
from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter
from keysync.method import PIXELS_PER_LATENT
from keysync.network.stage import ENDS, StageSpec, Windows
from keysync.report import DUBBED
from keysync.systems.keysync.models import Models, load_models
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import OnStep

from ..portrait import PORTRAIT
from .dub import write_speech

WIDTH, HEIGHT = 1920, 1080
# New frames of a window, and frames of crops of 512x512 pixels that a GPU encodes and decodes in a second, fp32.
NEW, ENCODED, DECODED = 13, 60, 25
# The share of the run in which the network is to be busy.
BOUND = 0.9


@dataclass(frozen=True)
class Sleeping:
    """A stage that takes so many seconds for a window: what is known comes out."""

    spec: StageSpec
    seconds: float
    pause: Callable[[float], None] = time.sleep

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
        evaluations = sampling.network_evaluations(self.spec)
        for _ in range(len(windows)):
            self.pause(self.seconds)
            if on_step is not None:
                on_step(evaluations)
        made = windows.known.clone()
        if self.spec.reference == ENDS:
            made[:, [0, -1]] = windows.reference
        return made


@dataclass
class SleepingVAE:
    """A latent is the mean of its 8x8 pixels."""

    encoding: float = 1 / ENCODED
    decoding: float = 1 / DECODED
    downscale: int = PIXELS_PER_LATENT
    batch: int = 4
    encoder: bool = True
    source: str = "a VAE that sleeps"

    def encoder_digest(self) -> str:
        return self.source

    def encode(self, images: Tensor, /) -> Tensor:
        time.sleep(len(images) * self.encoding)
        small = F.avg_pool2d(images.movedim(-1, 1), self.downscale)  # BHWC -> BCHW
        return F.pad(small, (0, 0, 0, 0, 0, 1))

    def decode(self, latents: Tensor, /) -> Tensor:
        time.sleep(len(latents) * self.decoding)
        return F.interpolate(latents[:, :3], scale_factor=float(self.downscale)).clamp(0, 1).movedim(1, -1)


def sleeping_models(seconds: float, vae: SleepingVAE | None = None) -> Models:
    """The method with stages that take so many seconds for a window, for crops of 512x512 pixels; the built-in speech
    encoder. The VAE works beside them."""
    small = load_models()
    keyframe, interpolation = (
        Sleeping(replace(stage.spec, latent_size=(64, 64)), seconds) for stage in (small.keyframe, small.interpolation)
    )
    return Models(keyframe, interpolation, vae or SleepingVAE(), small.encoders, beside=True)


def measure(frames_per_second: float, seconds: float, cuts: int = 0) -> dict[str, Any]:
    """Figures of a dub of so many seconds with so many cuts, by a network that draws so many new frames a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = write_clip(folder / "in.mp4", seconds, cuts)
        speech = write_speech(folder / "speech.wav", seconds)
        models = sleeping_models(NEW / frames_per_second)
        report = dub_file(video, speech, folder / "out.mp4", models, Settings(sync_mode="silence"), FaceSource())
    if report.count(DUBBED) != report.frames:
        raise RuntimeError(f"{report.count(DUBBED)} of {report.frames} frames were dubbed: {report.notes}")
    told = report.to_dict()
    busy = told["seconds_per_stage"]["keyframes"] + told["seconds_per_stage"]["interpolation"]
    before = told["seconds_per_stage"]["face track"]
    return {
        "frames": report.frames,
        "run": told["run_seconds"],
        "network": busy,
        "share": busy / told["run_seconds"],
        "share_while_drawing": busy / (told["run_seconds"] - before),
        "busy": told["seconds_per_stage"],
        "waited": told["seconds_waited"],
    }


def write_clip(path: Path, seconds: float, cuts: int) -> Path:
    """A moving portrait in frames of 1920x1080 pixels; each cut turns it over and makes it lighter or darker."""
    form = PictureFormat(WIDTH, HEIGHT, time_base=Fraction(1, 25), rate=Fraction(25))
    with VideoWriter(path, form) as writer:
        for pts, frame in enumerate(_frames(round(25 * seconds), cuts + 1)):
            writer.write(frame, pts)
    return path


def _frames(count: int, shots: int) -> Iterator[NDArray[np.uint8]]:
    with Image.open(PORTRAIT) as file:
        portrait = np.asarray(file.convert("RGB").resize((HEIGHT, HEIGHT), Image.Resampling.BICUBIC))
    for number in range(count):
        shot = number * shots // count
        frame = np.full((HEIGHT, WIDTH, 3), 40 + 120 * (shot % 2), np.uint8)
        left = 300 + round(40 * np.sin(number / 20))
        frame[:, left : left + HEIGHT] = portrait[:, :: -1 if shot % 2 else 1]
        yield frame
