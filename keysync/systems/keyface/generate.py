"""A talking head from latents to pictures: keyframes from the identity, speech and emotion, then the frames between.

The plan is KeySync's. Nothing of a source is kept: the first and last frame of a window are drawn like the others, and
a frame that two windows share is the mean of both pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...network.noise import draw
from ...network.stage import Stage, StageSpec, Windows
from ..keysync.generate import HostStage, batches_at_once, windows_at_once
from ..keysync.plan import Plan
from ..keysync.windows import Run, decoded, encode, sampled
from ..renderer import FrameRows, Span
from .emotion import CONTROLS
from .guided import Guided

# A keyframe: its place in the plan and its latent (4, h, w).
Keyframe = tuple[int, Tensor]


@dataclass(frozen=True, eq=False)
class Heard:
    """What a stage hears: the features (frames, 2, c) of its encoders, which are put side by side only for the frames
    that are asked for. Those of a long sound are large."""

    parts: Sequence[FrameRows]
    frames: int

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, frames: Tensor | slice) -> Tensor:
        if isinstance(frames, slice):  # parts may be longer
            frames = torch.arange(self.frames)[frames]
        return torch.cat([rows[frames] for rows in self.parts], dim=-1)


def hear(speech: Mapping[str, FrameRows], spec: StageSpec) -> Heard:
    """What a stage hears of a speech, as long as the shortest of the features of its encoders."""
    heard = [speech[name] for name in spec.speech_encoders]
    return Heard(heard, min(map(len, heard)))


@dataclass(frozen=True, eq=False)
class Head:
    """What a talking head is drawn from.

    `identity` is a latent (4, h, w), `keyframe` and `interpolation` are what the stages hear (frames, 2, c), `emotion`
    (frames, 2) is valence and arousal.
    """

    identity: Tensor
    keyframe: FrameRows
    interpolation: FrameRows
    emotion: Tensor


def render(run: Run, between: Stage | HostStage, span: Span) -> Iterator[Tensor]:
    """Draws a span, whose first crop is the identity; see `generate`."""
    crop, _ = next(span.crops)
    identity = encode(run, span, range(1), [crop])[0]
    keyframe, interpolation = (hear(span.speech, spec) for spec in (run.models.keyframe.spec, between.spec))
    for name in CONTROLS:
        span.account.curve(name, 0, span.controls[name].tolist())
    emotion = torch.stack([span.controls[name] for name in CONTROLS], dim=-1)
    return generate(run, between, Head(identity, keyframe, interpolation, emotion))


def generate(run: Run, between: Stage | HostStage, head: Head) -> Iterator[Tensor]:
    """Yields every frame in order: (8h, 8w, 3) float32 in 0..1, on the CPU; `between` draws the windows.

    Memory holds a batch of keyframes and some windows, whatever the length.
    """
    plan = Plan(len(head.keyframe), run.models.keyframe.spec.window)
    batches, together = range(len(plan.batches)), batches_at_once(run.models.keyframe)
    last: Keyframe | None = None
    shared: Tensor | None = None
    for numbers in (batches[start : start + together] for start in range(0, len(batches), together)):
        for number, latents in zip(numbers, _keyframes(run, plan, numbers, head), strict=True):
            fresh = plan.fresh_keyframes(number)
            made = list(zip(fresh, latents[1 : 1 + len(fresh)], strict=True))
            ends = made if last is None else [last, *made]
            for pictures in _windows(run, plan, between, list(pairwise(ends)), head):
                if shared is not None:
                    pictures[0] = (shared + pictures[0]) / 2
                whole = len(pictures) == plan.window
                yield from pictures[:-1] if whole else pictures
                shared = pictures[-1] if whole else None  # until the next window has drawn it too
            last = ends[-1]
    if shared is not None:
        yield shared


def _keyframes(run: Run, plan: Plan, numbers: range, head: Head) -> Tensor:
    """Latents (b, t, 4, h, w) of these batches of keyframes."""
    frames = [[plan.index(frame) for frame in plan.batches[number]] for number in numbers]
    with run.clock("keyframes"):
        at = torch.tensor(frames)
        identity = head.identity.expand(len(frames), -1, -1, -1)
        windows = Windows.unmasked(head.keyframe[at], identity, head.emotion[at])
        noise = torch.stack([draw(run.noise.keyframes, windows.known.shape[1:]) for _ in frames])
        return sampled(run, run.models.keyframe, [batch[1:] for batch in frames], windows, noise)


def _windows(
    run: Run, plan: Plan, between: Stage | HostStage, pairs: list[tuple[Keyframe, Keyframe]], head: Head
) -> Iterator[Tensor]:
    """The pictures (n, 8h, 8w, 3) of the frames of each window that are shown."""
    together = windows_at_once(between.stage if isinstance(between, Guided) else between, run.sampling)
    for some in (pairs[start : start + together] for start in range(0, len(pairs), together)):
        frames = [[plan.index(frame) for frame in range(first, last + 1)] for (first, _), (last, _) in some]
        ends = torch.stack([torch.stack((first, last)) for (_, first), (_, last) in some])
        with run.clock("interpolation"):
            windows = Windows.unmasked(head.interpolation[torch.tensor(frames)], ends)
            noise = torch.stack([draw(run.noise.windows, windows.known.shape[1:]) for _ in some])
            latents = sampled(run, between, frames, windows, noise)
        for ((first, _), _), window in zip(some, latents, strict=True):
            yield decoded(run, first, window[: plan.frames - first])
