"""FlashLips in steps, for callers that hold all crops of a clip: lips vectors are made, then frames are edited.

Each step runs the code of the renderer, which takes both at once, and gives its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...face.mesh import as_bytes
from ...face.track import FaceTrack
from ...method import LATENT_CHANNELS
from ...network.noise import stream
from ..renderer import NO_ACCOUNT, Look, OnStep, Span, Unchanged
from .person import MOST_SEEN, Person, Seen
from .render import Drawn, Run, render_with_latents, say
from .settings import Drawing
from .spec import SYSTEM, want_crops
from .vectors import LipsVectors

if TYPE_CHECKING:
    from .models import FlashLips


def _untimed(stage: str) -> AbstractContextManager[None]:
    return nullcontext()


def vectors_of_speech(
    models: FlashLips,
    rows: Tensor,
    fps: float,
    crops: Tensor,
    seed: int,
    steps: int | None = None,
    on_step: OnStep | None = None,
) -> LipsVectors:
    """What a speech (frames, 2, c), heard at `fps` frames a second, makes the lips of a person do, who is seen in crops
    (n, H, W, 3), 0..1.

    Takes `render.speech_evaluations` steps. Raises `KeySyncError` for crops of another size.
    """
    want_crops(models.spec, crops)
    own = models.read([*as_bytes(_some(crops))])
    run = Run(models, Drawing(steps).settled(models.spec), stream(f"{SYSTEM} {seed}"), _untimed, on_step)
    return LipsVectors(say(run, NO_ACCOUNT, rows, own).numpy(), fps, models.key)


def vectors_of_crops(models: FlashLips, crops: Tensor, fps: float) -> LipsVectors:
    """What the lips do in crops (n, H, W, 3), 0..1, of `fps` frames a second.

    Raises `KeySyncError` for crops of another size.
    """
    want_crops(models.spec, crops)
    return LipsVectors(models.read([*as_bytes(crops)]).numpy(), fps, models.key)


def edit_crops(
    models: FlashLips,
    crops: Tensor,
    masks: Tensor | None,
    vectors: LipsVectors,
    settings: Drawing,
    track: FaceTrack | None = None,
    references: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Drawn | Unchanged]:
    """For each of the crops (n, H, W, 3), 0..1, the crop with the lips of its vector, or why it stays unchanged.

    `masks` (n, H, W), 1 where the mouth is hidden from the editor, are needed unless it works without. References are
    taken from each shot of the `track`, which all crops are without one, or from these pictures (r, H, W, 3). Takes a
    step a frame with a face. Raises `KeySyncError` for crops of another size, vectors of another file or of fewer
    frames, and missing masks.
    """
    want_crops(models.spec, crops)
    masks = _wanted_masks(models, masks, settings, crops.shape[:3])
    people = _people(models, crops, masks, track, references)
    yield from _edited(models, crops, masks, vectors, settings, track, people, references is None, False, on_step)


def edit_latents(
    models: FlashLips,
    latents: Tensor,
    masks: Tensor | None,
    vectors: LipsVectors,
    settings: Drawing,
    references: Tensor,
    track: FaceTrack | None = None,
    on_step: OnStep | None = None,
) -> Iterator[Drawn | Unchanged]:
    """The same for latents (n, 4, h, w), as the VAE scales them, of crops whose mouths were hidden by the `masks`
    (n, H, W) before they were encoded (see `editor.hidden`), or of whole crops where the editor draws over them.

    References are these pictures (r, H, W, 3). Raises `KeySyncError` as `edit_crops` does.
    """
    channels, (height, width) = LATENT_CHANNELS, models.spec.latent_size
    if not len(latents) or tuple(latents.shape[1:]) != (channels, height, width):
        raise KeySyncError(
            f"the latents have shape {list(latents.shape)}: expected one or more of {channels}x{height}x{width}, "
            f"of crops of {models.spec.image_size[1]}x{models.spec.image_size[0]} pixels",
            about="crops",
        )
    masks = _wanted_masks(models, masks, settings, (len(latents), *models.spec.image_size))
    people = _people(models, references, masks, track, references)
    yield from _edited(models, latents, masks, vectors, settings, track, people, False, True, on_step)


def _wanted_masks(
    models: FlashLips, masks: Tensor | None, settings: Drawing, shape: tuple[int, int, int] | torch.Size
) -> Tensor:
    """The masks (n, H, W), nothing hidden without any. Raises `KeySyncError` where the editor needs some."""
    if masks is None and not settings.settled(models.spec).mask_free:
        raise KeySyncError(
            "the editor hides the mouth but there is no mask: connect one, or draw without", about="mask"
        )
    return torch.zeros(shape) if masks is None else masks


def _edited(
    models: FlashLips,
    crops: Tensor,
    masks: Tensor,
    vectors: LipsVectors,
    settings: Drawing,
    track: FaceTrack | None,
    people: Mapping[int, Person],
    numbered: bool,
    encoded: bool,
    on_step: OnStep | None,
) -> Iterator[Drawn | Unchanged]:
    """See `edit_crops`; `numbered`: references are some of these frames, `encoded`: the crops are latents."""
    vectors.want_frames(len(crops))
    found = [True] * len(crops) if track is None else track.found.tolist()
    runs = [(0, len(crops))] if track is None else track.runs()
    drawing = replace(models.following(vectors), people=people)
    run = Run(drawing, settings.settled(models.spec), stream(f"{SYSTEM} 0"), _untimed, on_step, encoded)
    drawn: dict[int, Iterator[Drawn]] = {}
    for start, stop in runs:
        part = slice(start, stop)
        span = Span(
            stop - start,
            zip(crops[part], masks[part], strict=True),
            {models.spec.speech_encoder: torch.from_numpy(vectors.values[part])},
            shot=0 if track is None else int(track.shot[start]),
            numbers=range(start, stop) if numbered else (),
        )
        drawn |= dict.fromkeys(range(start, stop), render_with_latents(run, span))
    for number in range(len(crops)):
        if found[number]:
            yield next(drawn[number])
        else:
            assert track is not None
            yield Unchanged(track.why_not(number))


def _people(
    models: FlashLips, crops: Tensor, masks: Tensor, track: FaceTrack | None, references: Tensor | None
) -> Mapping[int, Person]:
    """The person of each shot, as references or the crops show them."""
    if references is not None:
        want_crops(models.spec, references)
        seen = [Seen(-2 - number, crop, 1.0) for number, crop in enumerate(as_bytes(_some(references)))]
        person = models.meet(seen)
        shots = {0} if track is None else {int(shot) for shot in track.shot}
        return dict.fromkeys(shots, person)
    numbers = range(len(crops)) if track is None else track.found.nonzero()[0].tolist()
    looks = (
        Look(number, 0 if track is None else int(track.shot[number]), crops[number], masks[number])
        for number in numbers
    )
    return models.meet_all(looks, lambda note: None)


def _some(pictures: Tensor) -> Tensor:
    """As many of the pictures as a shot is looked at, evenly spread."""
    return pictures[:: -(-len(pictures) // MOST_SEEN)]
