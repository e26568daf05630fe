"""One clip: consecutive network frames of one face in one shot, from latents to generated pictures.

Keyframes come in batches of fourteen, windows of fourteen frames between them (paper §3.3). A batch with its windows spans
13 x 13 frames, and memory holds the latents of that span alone, whatever the length of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .generate import Sampling, interpolate, sample_keyframes
from .plan import Plan
from .sampling import initial_noise
from .stage import Stage
from .vae import VAE


@dataclass(frozen=True)
class Noise:
    """The two streams of noise, drawn on the CPU in the order of the video: a seed means the same on every device."""

    keyframes: torch.Generator
    windows: torch.Generator

    @staticmethod
    def from_seed(seed: int) -> Noise:
        return Noise(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1))


class LatentStream:
    """Latents (4, h, w) and masks (1, h, w) of a clip's frames, pulled as they are asked for and dropped when done."""

    def __init__(self, encoded: Iterator[tuple[Tensor, Tensor]]) -> None:
        self._encoded = encoded
        self._held: dict[int, tuple[Tensor, Tensor]] = {}
        self._next = 0

    def take(self, frames: list[int]) -> tuple[Tensor, Tensor]:
        """Latents (n, 4, h, w) and masks (n, 1, h, w) of the frames with these indices."""
        while self._next <= max(frames):
            self._held[self._next] = next(self._encoded)
            self._next += 1
        held = [self._held[frame] for frame in frames]
        return torch.stack([latent for latent, _ in held]), torch.stack([mask for _, mask in held])

    def forget_before(self, frame: int) -> None:
        """Lets go of all frames before this one, but the first: it is the anchor of every batch."""
        self._held = {index: held for index, held in self._held.items() if index == 0 or index >= frame}


@dataclass(frozen=True)
class ClipSpeech:
    """What is said while the clip runs: a pair of feature rows for each network frame, per stage: (frames, 2, channels)."""

    keyframe: Tensor
    interpolation: Tensor


def generate_clip(
    keyframe: Stage,
    interpolation: Stage,
    vae: VAE,
    encoded: Iterator[tuple[Tensor, Tensor]],
    speech: ClipSpeech,
    sampling: Sampling,
    noise: Noise,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[Tensor]:
    """Yields every frame of the clip in order: (8h, 8w, 3), 0..1.

    `encoded` yields the latent and the mask of each frame once, in order. The first frame is the identity and the anchor.
    """
    plan = Plan(frames=speech.keyframe.shape[0], window=keyframe.spec.window)
    stream = LatentStream(encoded)
    last: tuple[int, Tensor] | None = None
    for number, batch in enumerate(plan.batches):
        known, mask = stream.take([plan.index(frame) for frame in batch])
        latents = sample_keyframes(
            keyframe,
            speech.keyframe[[plan.index(frame) for frame in batch]][None],
            known[0],
            known[None],
            mask[None],
            initial_noise((1, *known.shape), noise.keyframes),
            sampling,
            on_step,
        )[0]
        fresh = plan.fresh_keyframes(number)
        made = list(zip(fresh, latents[1 : 1 + len(fresh)], strict=True))
        ends = made if last is None else [last, *made]
        yield from _windows(interpolation, vae, plan, stream, speech, ends, sampling, noise, on_step)
        last = ends[-1]
        stream.forget_before(last[0])


def _windows(
    stage: Stage,
    vae: VAE,
    plan: Plan,
    stream: LatentStream,
    speech: ClipSpeech,
    ends: list[tuple[int, Tensor]],
    sampling: Sampling,
    noise: Noise,
    on_step: Callable[[int], None] | None,
) -> Iterator[Tensor]:
    """The frames between consecutive keyframes; a frame that two windows share is yielded once, padding never."""
    pairs = list(zip(ends, ends[1:], strict=False))
    for group in (pairs[start : start + sampling.group] for start in range(0, len(pairs), sampling.group)):
        frames = [[plan.index(frame) for frame in range(first, last + 1)] for (first, _), (last, _) in group]
        known, mask = (torch.stack(part) for part in zip(*(stream.take(window) for window in frames), strict=True))
        latents = interpolate(
            stage,
            torch.stack([speech.interpolation[window] for window in frames]),
            torch.stack([torch.stack((first, last)) for (_, first), (_, last) in group]),
            known,
            mask,
            torch.stack([initial_noise(known.shape[1:], noise.windows) for _ in group]),
            sampling,
            on_step,
        )
        for ((first, _), (last, _)), window in zip(group, latents, strict=True):
            begin = 0 if first == 0 else 1
            end = min(last, plan.frames - 1) - first + 1
            yield from vae.decode(window[begin:end])
