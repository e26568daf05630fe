"""Speech to lips vectors: a transformer that is trained by flow matching on straight paths (FlashLips, stage two).

z_t = (1 - t) eps + t z, of which the network predicts z - eps. Published: about 150 M, speech features, an emotion
embedding, and lips vectors of the source. Depth, width, window, steps and overlap are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...network.cpu import Linear
from ...network.layers import sinusoids
from ...network.precision import Repairable
from ..renderer import FrameRows
from .networks import SpeechToLipsConfig
from .tokens import TokenBlock

# Sines tell times apart that differ by about one step of them.
TIMES = 1000.0


class SpeechToLips(Repairable):
    """The velocity of lips vectors on their way from noise to speech; see `forward`.

    Its lips vectors are normalised: `normalised` and `restored` go there and back by `mean` and `std` (width,), which
    training measures.
    """

    def __init__(self, config: SpeechToLipsConfig, lips: int) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.register_buffer("mean", torch.zeros(lips))
        self.register_buffer("std", torch.ones(lips))
        self.enter = Linear(lips + 2 * config.speech, channels)
        self.source = Linear(lips, channels)
        self.time = nn.Sequential(Linear(channels, channels), nn.SiLU(), Linear(channels, channels))
        self.emotion = Linear(config.emotion, channels) if config.emotion else None
        self.blocks = nn.ModuleList(TokenBlock(channels, config.head_dim) for _ in range(config.depth))
        self.norm = nn.LayerNorm(channels)
        self.leave = Linear(channels, lips)

    mean: Tensor
    std: Tensor

    def normalised(self, lips: Tensor) -> Tensor:
        """Lips vectors (..., width) as the network sees them."""
        return (lips - self.mean) / self.std

    def restored(self, lips: Tensor) -> Tensor:
        """The lips vectors that `normalised` was given."""
        return lips * self.std + self.mean

    def forward(self, z_t: Tensor, t: Tensor, speech: Tensor, source: Tensor, emotion: Tensor | None = None) -> Tensor:
        """z_t (b, n, width), t (b,) in 0..1, speech (b, n, 2, c): two rows a frame; source (b, k, width): lips vectors
        of any k >= 1 frames, whose order does not matter; emotion (b, e), None for a network without and for an unknown
        one -> the velocity (b, n, width).

        All lips vectors are normalised.
        """
        channels = self.config.channels
        frames = self.enter(torch.cat((z_t, speech.flatten(2)), dim=-1))
        place = sinusoids(torch.arange(frames.shape[1], device=z_t.device), channels).to(frames.dtype)
        tokens = torch.cat((self.source(source), frames + place), dim=1)
        tokens = tokens + self.time(sinusoids(t * TIMES, channels).to(tokens.dtype))[:, None]
        if emotion is not None and self.emotion is not None:
            tokens = tokens + self.emotion(emotion)[:, None]
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.leave(self.norm(tokens[:, source.shape[1] :]))
        return out


def straight_path(z: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """z_t on the path from noise to lips vectors z (b, n, width) at times t (b,), and the velocity to predict there."""
    share = t[:, None, None]
    return (1 - share) * eps + share * z, z - eps


def windows(frames: int, window: int, overlap: int) -> list[range]:
    """The windows that cover so many frames, each of `window` of them; the last one overlaps the one before by more
    where they do not fit. Fewer frames are one window."""
    if frames <= window:
        return [range(frames)]
    starts = [*range(0, frames - window, window - overlap), frames - window]
    return [range(start, start + window) for start in starts]


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the lips of a span follow: `speech` (frames, 2, c), `source` (k, width) of lips vectors as they are, and
    `emotion` (e,) or None."""

    speech: FrameRows
    source: Tensor
    emotion: Tensor | None = None


@torch.no_grad()
def sample(
    network: SpeechToLips,
    conditions: Conditions,
    noise: Tensor,
    steps: int,
    at_once: int = 8,
    on_step: Callable[[int], None] | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Lips vectors (frames, width) of speech of any length, from noise of that shape, by `steps` of Euler's method.

    In each step all windows say their velocity, `at_once` of them together; where they overlap, it is their mean, of
    which a window has less towards its ends: so the lips do not jump from one window to the next. `on_step(n)` follows
    each call of the network, which n windows took part in. `known` (k, width) are the lips of the first frames, which
    stay: the others go on from them.
    """
    config = network.config
    parts = windows(len(noise), config.window, config.overlap)
    share = _shares(len(parts[0]), config.overlap).to(noise)
    source = network.normalised(conditions.source.to(noise))
    total = torch.zeros(len(noise), 1, dtype=noise.dtype, device=noise.device)
    for part in parts:
        total[part.start : part.stop] += share
    x = noise
    past = noise[:0] if known is None else network.normalised(known.to(noise))
    for step in range(steps):
        if len(past):  # where the straight path from noise to them has led by now
            led, _ = straight_path(past[None], noise[None, : len(past)], noise.new_tensor([step / steps]))
            x = torch.cat((led[0], x[len(past) :]))
        velocity = torch.zeros_like(x)
        for group in (parts[start : start + at_once] for start in range(0, len(parts), at_once)):
            said = _said(network, x, step / steps, group, conditions, source)
            for part, one in zip(group, said, strict=True):
                velocity[part.start : part.stop] += one * share
            if on_step is not None:
                on_step(len(group))
        x = x + velocity / total / steps
    return network.restored(torch.cat((past, x[len(past) :])))


def _said(
    network: SpeechToLips, x: Tensor, t: float, parts: Sequence[range], conditions: Conditions, source: Tensor
) -> Tensor:
    """The velocity (b, n, width) in these windows at one time."""
    count = len(parts)
    z_t = torch.stack([x[part.start : part.stop] for part in parts])
    speech = torch.stack([conditions.speech[part.start : part.stop] for part in parts]).to(x)
    emotion = None if conditions.emotion is None else conditions.emotion.to(x).expand(count, -1)
    times = torch.full((count,), t, dtype=x.dtype, device=x.device)
    velocity: Tensor = network(z_t, times, speech, source.expand(count, -1, -1), emotion)
    return velocity


def _shares(frames: int, overlap: int) -> Tensor:
    """How much each frame of a window counts (frames, 1): 1 in the middle, falling over the overlap at both ends."""
    place = torch.arange(frames, dtype=torch.float32)
    nearest = torch.minimum(place, place.flip(0)) + 1
    return (nearest / (overlap + 1)).clamp(max=1)[:, None]
