"""FlashLips on frames as they come: lips that go on from those before, and references of the frames that were seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...network.noise import draw, stream
from ...network.peak import is_on_cpu
from ..renderer import NO_ACCOUNT
from ..repaired import computed
from .person import Gallery, Person, Seen
from .render import CPU_FRAMES, FRAMES, References, Run, draw_frames
from .settings import Settled
from .spec import SYSTEM
from .speech_to_lips import Conditions, sample

if TYPE_CHECKING:
    from .models import FlashLips

# Frames of speech that are heard ahead: without, the rows of Whisper differ by twice as much from those of whole
# speech.
AHEAD = 8
# References are chosen anew when so many times as many frames of the face were seen, until there are so many.
TIMES, MOST_LOOKED_AT = 4, 2048


def _untimed(stage: str) -> AbstractContextManager[None]:
    return nullcontext()


class LipsStream:
    """Lips vectors of speech that goes on: each batch begins where the last one ended.

    The speech transformer sees a window whose beginning is what it has said already, see `speech_to_lips.sample`.
    Memory holds a window.
    """

    def __init__(self, models: FlashLips, steps: int, seed: int) -> None:
        self._models, self._steps = models, steps
        self._noise_of, self._lot = stream(f"{SYSTEM} {seed}"), stream(f"{SYSTEM} sources {seed}")
        self._sources: Tensor | None = None
        self.skip()

    def know(self, lips: Tensor) -> None:
        """Takes lips vectors (k, width) of the person, of which some are drawn by lot."""
        self._sources = lips[self._lot.permutation(len(lips))[: self._models.spec.sources]]

    def skip(self) -> None:
        """The next lips go on from none."""
        self._heard: Tensor | None = None
        self._said = torch.zeros(0, self._models.spec.networks.lips.width)
        self._noise = self._said

    def say(self, heard: Tensor, count: int) -> Tensor:
        """The lips vectors (count, width), on the CPU, of the first of these frames (n, 2, c): the others are heard
        ahead. Raises `ValueError` before a person is known, and `KeySyncError` for numbers that are not finite."""
        if self._sources is None:
            raise ValueError("no person is known to speak like")
        network, source = self._models.speech, self._sources
        most = max(network.config.overlap, network.config.window - len(heard))
        past = self._said[max(0, len(self._said) - most) :]
        dropped = len(self._said) - len(past)
        rows = heard if self._heard is None else torch.cat((self._heard[dropped:], heard))
        noise = self._noise[dropped:]
        more = len(rows) - len(noise)
        noise = torch.cat((noise, draw(self._noise_of, (more, noise.shape[1])))) if more > 0 else noise

        def compute() -> Tensor:
            self._models.place()
            like = next(network.parameters())
            placed = noise[: len(rows)].to(like.device, like.dtype)
            known = past if len(past) else None
            return sample(network, Conditions(rows, source), placed, self._steps, known=known).float().cpu()

        made, _ = computed(NO_ACCOUNT, network, "the speech transformer", range(len(heard)), compute)
        end = len(past) + count
        self._said, self._heard, self._noise = made[:end], rows[:end], noise
        return made[len(past) : end]


class FlashLipsStream:
    """See `Stream`. References are those of a person who is known, or of the frames that come."""

    ahead = AHEAD

    def __init__(self, models: FlashLips, settings: Settled, seed: int) -> None:
        self._run = Run(models, settings, stream(f"{SYSTEM} {seed}"), _untimed)
        self._lips = LipsStream(models, settings.steps, seed)
        self._gallery, self._looked, self._due = Gallery(), 0, 1.0
        self._references: References | None = None
        self._is_known = bool(models.people)
        if self._is_known:
            self._meet(next(iter(models.people.values())))

    def skip(self) -> None:
        """See `Stream`."""
        self._lips.skip()

    def draw(
        self, frames: range, speech: Mapping[str, Tensor], looks: Mapping[int, tuple[Tensor, Tensor]]
    ) -> Mapping[int, Tensor]:
        """See `Stream`. Raises `KeySyncError` where a model gives numbers that are not finite, in float32 too."""
        if not self._is_known:
            self._look_at(looks)
        if self._references is None:
            self.skip()
            return {}
        models = self._run.models
        heard = speech[models.spec.speech_encoder]
        lips = heard[: len(frames)] if models.given else self._lips.say(heard, len(frames))
        made: dict[int, Tensor] = {}
        numbers, most = iter(sorted(looks)), CPU_FRAMES if is_on_cpu(models.editor) else FRAMES
        while some := list(islice(numbers, most)):
            pictures, masks = (
                torch.stack(one).to(models.device) for one in zip(*(looks[number] for number in some), strict=True)
            )
            # Those of a person who was known before are frames of another clip: they have other numbers.
            own = [-1] * len(some) if self._is_known else some
            features = self._references.of(NO_ACCOUNT, own)
            said = lips[[number - frames.start for number in some]]
            drawn = draw_frames(self._run, NO_ACCOUNT, range(len(some)), pictures, masks, features, said)
            made |= {number: one.picture for number, one in zip(some, drawn, strict=True)}
        return made

    def _look_at(self, looks: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        """Keeps some of the looks, and chooses references anew when many more were seen than the last time."""
        for number in sorted(looks):
            if self._gallery.takes_next():
                self._gallery.add(Seen.of(number, *looks[number]))
        self._looked += len(looks)
        if looks and self._due <= self._looked:
            self._meet(self._run.models.meet(self._gallery.seen))
            self._due = TIMES * self._looked if self._looked < MOST_LOOKED_AT else math.inf

    def _meet(self, person: Person) -> None:
        self._references = References(self._run, person)
        self._lips.know(person.lips)
