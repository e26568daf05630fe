"""Stand-ins for models that make no mistake, or one that is known: a film's own frames with any mouth, by their number.

The "latents" of a frame hold its number; the decoder returns what the person looks like then. Everything else, from
files over crops and masks to pasting, is the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from keysync.face.crop import crop, crop_boxes
from keysync.method import ROWS_PER_SECOND, SAMPLE_RATE
from keysync.network.stage import StageSpec, Windows
from keysync.network.unet import UNetConfig
from keysync.speech.features import SpeechFeatures
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import OnStep
from training.evaluation.dubbing import track_of
from training.evaluation.film import Film
from training.synthetic.render.mouth import MouthShape
from training.synthetic.voice.sound import loudness

LATENT = 16  # coarse as masks are at this size, that of the mouth ends above the lower edge
NUMBER, LATE, LEAKS = range(3)  # channels of the "latents"
TOO_LATE = 4  # frames
Mouths = Callable[[Film], Sequence[MouthShape]]


@dataclass(frozen=True)
class PuppetStage:
    """Returns the numbers of the frames; without guidance it is late, without the whole mask it leaks."""

    spec: StageSpec

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
        made, mask = windows.known.clone(), windows.mask
        made[:, :, LATE] = TOO_LATE if sampling.audio_guidance == 1 else 0
        made[:, :, LEAKS] = (mask[..., -1, :].amax((-2, -1)) == 0).float()[..., None, None]
        return made


@dataclass(eq=False)
class PuppetVAE:
    """Numbers the frames that it encodes; decodes a number to the frame that the puppet shows."""

    shown: list[Tensor]  # crops of the puppet's frames, then of the source's
    batch: int = 4
    downscale: int = 8
    source: str = "puppet"
    encoder: object = "counts"
    seen: int = 0

    def encoder_digest(self) -> str:
        return "puppet"

    def encode(self, images: Tensor) -> Tensor:
        numbers = torch.arange(self.seen, self.seen + len(images)).float()
        self.seen += len(images)
        latents = torch.zeros(len(images), 4, LATENT, LATENT)
        latents[:, NUMBER] = numbers[:, None, None]
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        made = []
        for number, late, leaks in latents[:, :3, 0, 0].round().long().tolist():
            made.append(self.shown[len(self.shown) // 2 + number if leaks else max(number - late, 0)])
        return torch.stack(made)


class PuppetEncoder:
    """Hears nothing."""

    name, channels = "hubert", 2

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        rows = 2 * -(-len(waveform) * ROWS_PER_SECOND // (2 * SAMPLE_RATE))
        return SpeechFeatures(torch.zeros(rows, self.channels), self.name)


def puppet(mouths: Mouths | None = None) -> Callable[[Film], Models]:
    """Models of each film whose mouth is this one: by default the true one."""
    unet = UNetConfig(8)
    keyframe, interpolation = (
        PuppetStage(StageSpec(name, unet, PuppetEncoder.channels, (LATENT, LATENT)))
        for name in ("keyframe", "interpolation")
    )

    @cache
    def shown(film: Film) -> list[Tensor]:
        drawn = film.real if mouths is None else film.shot.bare().draw(mouths(film))
        boxes = crop_boxes(track_of(film.source), 0, film.shot.frames).tolist()
        both = (*drawn.frames, *film.source.frames)
        return [crop(frame, box, (8 * LATENT, 8 * LATENT)) for frame, box in zip(both, 2 * boxes, strict=True)]

    return lambda film: Models(keyframe, interpolation, PuppetVAE(shown(film)), {"hubert": PuppetEncoder()})


def frozen(film: Film) -> list[MouthShape]:
    """An open mouth that never moves."""
    return [MouthShape(open=0.9)] * film.shot.frames


def as_loud(film: Film) -> list[MouthShape]:
    """A mouth that follows loudness and nothing else."""
    return [MouthShape(open=float(level)) for level in np.clip(loudness(film.said.waveform, film.times), 0, 1)]
