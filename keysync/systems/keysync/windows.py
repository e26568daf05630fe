"""One clip: consecutive network frames of one face in one shot, from latents to generated pictures.

Keyframes come in batches of fourteen, windows of fourteen frames between them (paper §3.3). A batch with its
windows spans 13 x 13 frames. Memory holds the latents of as many spans as keyframes are drawn for at once, whatever
the length of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...face.masks import to_latent
from ...method import LATENT_CHANNELS
from ...network.noise import Noise, draw
from ...network.precision import NotFiniteError, is_finite
from ...network.stage import Stage, Windows
from ..renderer import NO_ACCOUNT, Account, Clock, FrameRows, Later, OnStep, Span
from ..repaired import computed, in_wider
from ..steps import Steps
from .generate import HostStage, batches_at_once, sample, windows_at_once
from .memo import key_of_inputs
from .plan import Plan
from .sampling import Sampling

if TYPE_CHECKING:
    from .models import Models


class LatentStream:
    """Latents (4, h, w) and masks (1, h, w) of a clip's frames, read on demand and dropped when done."""

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
        """Drops all frames before this one except the first, which is the anchor of every batch."""
        self._held = {index: held for index, held in self._held.items() if index == 0 or index >= frame}


@dataclass(frozen=True)
class ClipSpeech:
    """The speech of a clip: two feature rows for each network frame, (frames, 2, channels) per stage."""

    keyframe: FrameRows
    interpolation: FrameRows


@dataclass(frozen=True)
class Run:
    """What all clips of one dub share: models, sampling, noise, and the callbacks that time stages and count steps.

    Where the VAE works beside the network it has queues of its own on the GPU, one to encode in and one to decode in.
    """

    models: Models
    sampling: Sampling
    noise: Noise
    clock: Clock
    on_step: OnStep | None = None
    account: Account = NO_ACCOUNT
    encoding: torch.cuda.Stream | None = None
    decoding: torch.cuda.Stream | None = None


def render(run: Run, span: Span) -> Iterator[Tensor | Later]:
    """Draws a span: its crops are encoded as they are needed, its frames decoded one window after another. Both are
    done in other threads where the VAE works beside the network.

    Raises `KeySyncError` where a model gives numbers that are not finite, in float32 too.
    """
    run = replace(run, account=span.account)
    stages = run.models.keyframe, run.models.interpolation
    speech = ClipSpeech(*(span.speech[stage.spec.speech_encoder] for stage in stages))
    encoded: Iterator[tuple[Tensor, Tensor]] = _encoded(run, span)
    return generate_clip(run, span.ahead(encoded, span.frames) if run.models.beside else encoded, speech)


def _encoded(run: Run, span: Span) -> Iterator[tuple[Tensor, Tensor]]:
    """Latent (4, h, w) and latent mask (1, h, w) of every frame of a span, in order."""
    latent_size, vae = run.models.keyframe.spec.latent_size, run.models.vae
    first = 0
    while some := list(islice(span.crops, vae.batch)):
        masks = [to_latent(mask, latent_size)[None] for _, mask in some]
        latents = encode(run, span, range(first, first + len(some)), [crop for crop, _ in some])
        first += len(some)
        yield from zip(latents, masks, strict=True)


def encode(run: Run, span: Span, frames: range, crops: list[Tensor]) -> Tensor:
    """Latents (n, 4, h, w) of the crops of these frames of a span, kept ones where there are any."""
    kept = run.models.encodings if span.numbers else None
    numbers = span.numbers[frames.start : frames.stop]
    found = None if kept is None else kept.find(numbers, (LATENT_CHANNELS, *run.models.keyframe.spec.latent_size))
    if found is not None:
        return found
    pictures = torch.stack(crops)
    key, before = _before(run, "the VAE's encoder", [pictures])
    if before is not None:
        return before
    with run.clock("encode"):
        latents, repaired = _latents(run, frames, pictures)
    if not repaired:  # the report names what was repaired
        _remember(run, key, latents)
        if kept is not None:
            kept.keep(numbers, latents)
    return latents


def _latents(run: Run, frames: range, pictures: Tensor) -> tuple[Tensor, bool]:
    """The latents of all pictures at once, or of each by itself where they are not finite, so that it is known which
    is to blame; and whether any was computed in float32 where halves overflow."""
    vae, name = run.models.vae, "the VAE's encoder"
    if len(frames) > 1:
        with suppress(NotFiniteError):
            latents = _placed_and_encoded(run, pictures)
            if is_finite(latents):
                return latents, False
        wider = in_wider(run.account, vae, name, frames, partial(_placed_and_encoded, run, pictures))
        if wider is not None:
            return wider, True
    parts = [
        computed(run.account, vae, name, range(frame, frame + 1), partial(_placed_and_encoded, run, picture[None]))
        for frame, picture in zip(frames, pictures, strict=True)
    ]
    return torch.cat([latents for latents, _ in parts]), any(repaired for _, repaired in parts)


def _before(run: Run, name: str, inputs: Sequence[Tensor]) -> tuple[bytes, Tensor | None]:
    """The key of what `name` computes of these inputs, and that, where it was computed early or in a run before."""
    stores = run.models.stores
    if not stores:
        return b"", None
    key = key_of_inputs(name, inputs)
    return key, next((found for store in stores if (found := store.find(key)) is not None), None)


def _remember(run: Run, key: bytes, result: Tensor) -> None:
    for store in run.models.stores:
        store.keep(key, result)


def _placed_and_encoded(run: Run, crops: Tensor) -> Tensor:
    if run.encoding is None:
        return run.models.vae.encode(crops)
    with torch.cuda.stream(run.encoding):
        placed = crops.pin_memory().to(run.encoding.device, non_blocking=True)
        return run.models.vae.encode(placed).cpu()


def decoded(run: Run, first: int, latents: Tensor) -> Tensor:
    """The pictures of frames of a span from `first` on."""
    vae = run.models.vae
    with run.clock("decode"), torch.cuda.stream(run.decoding):
        return _finite(run, vae, "the VAE's decoder", range(first, first + len(latents)), partial(vae.decode, latents))


def _finite(run: Run, model: object, name: str, frames: Sequence[int], compute: Callable[[], Tensor]) -> Tensor:
    """What `computed` gives, repaired or not."""
    return computed(run.account, model, name, frames, compute)[0]


def sampled(
    run: Run, stage: Stage | HostStage, frames: Sequence[Sequence[int]], windows: Windows, noise: Tensor
) -> Tensor:
    """Latents of windows that show these frames each, on the CPU."""
    steps = Steps(run.on_step, len(windows) * run.sampling.network_evaluations(stage.spec))
    name = f"the {stage.spec.name} model"
    inputs = [windows.features, windows.reference, windows.known, windows.mask, noise]
    inputs += [] if windows.controls is None else [windows.controls]
    key, found = _before(run, name, inputs)
    if found is None:
        if run.models.memo is not None:
            run.models.memo.check()
        run.models.place(stage)
        mended: list[str] = []

        def repaired(what: str, first: int, last: int) -> None:
            mended.append(what)
            run.account.repaired(what, first, last)

        noting = replace(run, account=replace(run.account, repaired=repaired))
        found = _apart(noting, stage, frames, windows, noise, steps)
        if not mended:  # the report names what was repaired
            _remember(run, key, found)
    steps(steps.left)
    return found


def _apart(
    run: Run,
    stage: Stage | HostStage,
    frames: Sequence[Sequence[int]],
    windows: Windows,
    noise: Tensor,
    steps: Steps,
) -> Tensor:
    """The latents of windows: of all at once, and of halves by themselves where they are not finite, so that it is
    known which windows are to blame, or where a GPU's memory runs out.

    Raises `KeySyncError` where it does not hold a single window.
    """
    name = f"the {stage.spec.name} model"
    compute = partial(sample, stage, windows, noise, run.sampling, steps)
    try:
        if len(windows) == 1:
            return _finite(run, stage, name, frames[0], compute).cpu()
        with suppress(NotFiniteError):
            latents = compute()
            if is_finite(latents):
                return latents.cpu()
        wider = in_wider(run.account, stage, name, [frame for window in frames for frame in window], compute)
        if wider is not None:
            return wider.cpu()
    except torch.OutOfMemoryError as error:
        if len(windows) == 1:
            raise KeySyncError(
                f"the GPU's memory does not hold {name} at work on one window: close other programs that use the GPU, "
                "or use weights in half precision"
            ) from error
        run.account.smaller(name, len(windows) // 2)
        torch.cuda.empty_cache()
    middle = len(windows) // 2
    parts = slice(None, middle), slice(middle, None)
    return torch.cat([_apart(run, stage, frames[part], windows[part], noise[part], steps) for part in parts])


def generate_clip(run: Run, encoded: Iterator[tuple[Tensor, Tensor]], speech: ClipSpeech) -> Iterator[Tensor | Later]:
    """Yields every frame of the clip in order: (8h, 8w, 3) float32 in 0..1, on the CPU.

    `encoded` yields the latent and the mask of each frame, in order. The first frame is the identity and the anchor.
    """
    plan = Plan(frames=len(speech.keyframe), window=run.models.keyframe.spec.window)
    stream = LatentStream(encoded)
    last: tuple[int, Tensor] | None = None
    batches, at_once = range(len(plan.batches)), batches_at_once(run.models.keyframe)
    for numbers in (batches[start : start + at_once] for start in range(0, len(batches), at_once)):
        for number, latents in zip(numbers, _keyframes(run, plan, stream, speech, numbers), strict=True):
            fresh = plan.fresh_keyframes(number)
            made = list(zip(fresh, latents[1 : 1 + len(fresh)], strict=True))
            ends = made if last is None else [last, *made]
            pairs = list(pairwise(ends))
            together = 1 if run.models.card else windows_at_once(run.models.interpolation, run.sampling)
            for start in range(0, len(pairs), together):
                yield from _windows(run, plan, stream, speech, pairs[start : start + together])
            last = ends[-1]
            stream.forget_before(plan.index(last[0]))


def _keyframes(run: Run, plan: Plan, stream: LatentStream, speech: ClipSpeech, numbers: Sequence[int]) -> Tensor:
    """Latents (b, t, 4, h, w) of these batches of keyframes."""
    frames = [[plan.index(frame) for frame in plan.batches[number]] for number in numbers]
    known, mask = (torch.stack(part) for part in zip(*(stream.take(batch) for batch in frames), strict=True))
    with run.clock("keyframes"):
        rows = torch.stack([speech.keyframe[batch] for batch in frames])
        noise = torch.stack([draw(run.noise.keyframes, known.shape[1:]) for _ in frames])
        shown = [batch[1:] for batch in frames]
        return sampled(run, run.models.keyframe, shown, Windows(rows, known[:, 0], known, mask), noise)


def _windows(
    run: Run,
    plan: Plan,
    stream: LatentStream,
    speech: ClipSpeech,
    pairs: list[tuple[tuple[int, Tensor], tuple[int, Tensor]]],
) -> Iterator[Tensor | Later]:
    """The frames of windows between two keyframes each; a frame that two windows share comes once, padding never."""
    frames = [[plan.index(frame) for frame in range(first, last + 1)] for (first, _), (last, _) in pairs]
    known, mask = (torch.stack(part) for part in zip(*(stream.take(window) for window in frames), strict=True))
    with run.clock("interpolation"):
        windows = Windows(
            torch.stack([speech.interpolation[window] for window in frames]),
            torch.stack([torch.stack((first, last)) for (_, first), (_, last) in pairs]),
            known,
            mask,
        )
        noise = torch.stack([draw(run.noise.windows, known.shape[1:]) for _ in pairs])
        latents = sampled(run, run.models.interpolation, frames, windows, noise)
    for ((first, _), (last, _)), window in zip(pairs, latents, strict=True):
        begin = 0 if first == 0 else 1
        end = min(last, plan.frames - 1) - first + 1
        if end > begin:
            yield from _pictures(run, first + begin, window[begin:end])


def _pictures(run: Run, first: int, latents: Tensor) -> Iterator[Tensor | Later]:
    """The frames of a window from `first` on: decoded here, or later, as many at once as the VAE decodes."""
    if not run.models.beside:
        yield from decoded(run, first, latents)
        return
    for start, part in enumerate(torch.split(latents, run.models.vae.batch)):
        some = cache(partial(decoded, run, first + start * run.models.vae.batch, part))
        for number in range(len(part)):
            yield Later(partial(_one_of, some, number), part[number].nbytes)


def _one_of(pictures: Callable[[], Tensor], number: int) -> Tensor:
    return pictures()[number]
