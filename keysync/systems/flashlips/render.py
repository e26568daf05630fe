"""FlashLips at work on a span: speech to lips for all of it, then crops to pictures, some frames at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...network.noise import draw
from ...network.peak import is_on_cpu
from ..keysync.memo import key_of_inputs
from ..renderer import Account, Clock, FrameRows, OnStep, Span
from ..repaired import computed
from ..steps import Steps
from .edit import edit
from .editor import hidden, hidden_cells
from .person import MOST_SEEN, Person, Seen
from .settings import Settled
from .speech_to_lips import Conditions, sample, windows

if TYPE_CHECKING:
    from .models import FlashLips

# Frames that are encoded, edited and decoded together, on a CPU and on another device.
CPU_FRAMES, FRAMES = 8, 32
# Sets of references whose features are kept: a frame that is a reference itself is drawn with the others.
SETS = 8


class Drawn(NamedTuple):
    """A drawn frame: its picture (H, W, 3), 0..1, and the latent (4, h, w) that it was decoded from, on the CPU."""

    picture: Tensor
    latent: Tensor


@dataclass(frozen=True)
class Run:
    """What all spans of one dub share. `encoded`: crops are latents (4, h, w) already, of pictures whose mouths are
    hidden unless they are drawn over."""

    models: FlashLips
    settings: Settled
    noise: np.random.Generator
    clock: Clock
    on_step: OnStep | None = None
    encoded: bool = False


@dataclass(frozen=True, eq=False)
class References:
    """The features (1, f, h, w) of sets of a person's references, made when a frame needs them."""

    run: Run
    person: Person
    made: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def of(self, account: Account, frames: Sequence[int]) -> Tensor:
        """Features (n or 1, f, h, w) for these frames of the source: each is drawn without itself."""
        sets = [self.person.references(frame, self.run.settings.references) for frame in frames]
        if len(set(sets)) == 1:
            return self._features(account, sets[0])
        return torch.cat([self._features(account, one) for one in sets])

    def _features(self, account: Account, places: tuple[int, ...]) -> Tensor:
        if places not in self.made:
            if len(self.made) >= SETS:
                self.made.clear()
            editor = self.run.models.editor
            self.run.models.place()
            like = next(editor.parameters())
            latents = self.person.latents[list(places)].to(like.device)

            def compute() -> Tensor:
                features: Tensor = editor.references(latents[None].to(next(editor.parameters()).dtype))
                return features.float()

            with torch.no_grad():
                self.made[places], _ = computed(account, editor, "the editor", range(1), compute)
        return self.made[places]


def render(run: Run, span: Span) -> Iterator[Tensor]:
    """The pictures of a span, see `render_with_latents`."""
    for drawn in render_with_latents(run, span):
        yield drawn.picture


def render_with_latents(run: Run, span: Span) -> Iterator[Drawn]:
    """Draws a span: its lips are made first, its crops then as they come.

    Memory holds some frames and the lips, whatever the length. Raises `KeySyncError` where a model gives numbers that
    are not finite, in float32 too.
    """
    models, crops = run.models, span.crops
    person = models.people.get(span.shot)
    if person is None:  # a shot that the survey did not look at
        first = list(islice(crops, MOST_SEEN))
        crops = chain(first, crops)
        numbers = [*span.numbers] or [*range(span.frames)]
        with run.clock("references"):
            person = models.meet([Seen.of(*one) for one in zip(numbers, *zip(*first, strict=True), strict=False)])
    lips = _lips(run, span, person)
    references = References(run, person)
    models.place()
    count = CPU_FRAMES if is_on_cpu(models.editor) else FRAMES
    numbers = [*span.numbers] or [-1] * span.frames
    start = 0
    while some := list(islice(crops, count)):
        part = range(start, start + len(some))
        pictures, masks = (torch.stack(one).to(models.device) for one in zip(*some, strict=True))
        features = references.of(span.account, numbers[part.start : part.stop])
        made = draw_frames(run, span.account, part, pictures, masks, features, lips[part.start : part.stop])
        if run.on_step is not None:
            run.on_step(len(part))
        yield from made
        start = part.stop


def _lips(run: Run, span: Span, person: Person) -> Tensor:
    """The lips vectors (frames, width) of a span, on the CPU: those that are given, or what the speech says."""
    models = run.models
    heard = span.speech[models.spec.speech_encoder]
    if models.given:
        return heard[:]
    with run.clock("lips"):
        return say(run, span.account, heard, person.lips)


def say(run: Run, account: Account, heard: FrameRows, lips: Tensor) -> Tensor:
    """The lips vectors (frames, width), on the CPU, of what is heard (frames, 2, c), for a person whose own are `lips`
    (k, width), some of which are drawn by lot."""
    models = run.models
    network, frames = models.speech, len(heard)
    sources = lips[run.noise.permutation(len(lips))[: models.spec.sources]]
    noise = draw(run.noise, (frames, models.spec.networks.lips.width))
    steps = Steps(run.on_step, speech_evaluations(run.settings.steps, frames, models))

    def compute() -> Tensor:
        models.place()
        like = next(network.parameters())
        placed = noise.to(like.device, like.dtype)
        made = sample(network, Conditions(heard, sources), placed, run.settings.steps, on_step=steps)
        return made.float().cpu()

    said, _ = computed(account, network, "the speech transformer", range(frames), compute)
    steps(steps.left)
    return said


def speech_evaluations(steps: int, frames: int, models: FlashLips) -> int:
    """How often the speech transformer is evaluated for so many frames."""
    config = models.spec.networks.speech
    return 0 if models.given else steps * len(windows(frames, config.window, config.overlap))


def draw_frames(
    run: Run, account: Account, frames: range, crops: Tensor, masks: Tensor, features: Tensor, lips: Tensor
) -> list[Drawn]:
    """Some frames of a span."""
    models = run.models
    masked = not run.settings.mask_free
    key, kept = b"", None
    if models.work is not None:
        inputs = (crops, masks if masked else masks[:0], features, lips)
        key = key_of_inputs("the editor", [one.float().cpu() for one in inputs])
        kept = models.work.find(key)
    if kept is not None:
        latents = kept.to(models.device)
    else:
        latents = _edited(run, account, frames, crops, masks if masked else None, features, lips)
        if models.work is not None:
            models.work.keep(key, latents)
    with run.clock("decode"):
        made, _ = computed(account, models.vae, "the VAE's decoder", frames, partial(models.vae.decode, latents))
    return [Drawn(*one) for one in zip(made.float().cpu(), latents.float().cpu(), strict=True)]


def _edited(
    run: Run, account: Account, frames: range, crops: Tensor, masks: Tensor | None, features: Tensor, lips: Tensor
) -> Tensor:
    """The latents (n, 4, h, w) of these frames with other mouths; `masks` are what is hidden, None for nothing."""
    models = run.models
    if run.encoded:
        source = crops
    else:
        seen = crops if masks is None else hidden(crops, masks)
        with run.clock("encode"):
            source, _ = computed(account, models.vae, "the VAE's encoder", frames, partial(models.vae.encode, seen))
    cells = None if masks is None else hidden_cells(masks)
    with run.clock("editor"):
        models.place()
        compute = partial(
            edit, models.editor, source, cells, features, lips, smaller=partial(account.smaller, "the editor")
        )
        latents, _ = computed(account, models.editor, "the editor", frames, compute)
    return latents
