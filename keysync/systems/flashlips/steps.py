"""FlashLips in steps, for callers that hold all crops of a clip: lips vectors are made, then frames are edited.

Each step runs the code of the renderer, which takes both at once, and gives its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...face.mesh import as_bytes
from ...face.track import FaceTrack
from ...network.noise import stream
from ..renderer import NO_ACCOUNT, Look, OnStep, Span, Unchanged
from .person import MOST_SEEN, Person, Seen
from .render import Run, say
from .settings import Drawing
from .spec import SYSTEM
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
    want_crops(models, crops)
    own = models.read([*as_bytes(_some(crops))])
    run = Run(models, Drawing(steps).settled(models.spec), stream(f"{SYSTEM} {seed}"), _untimed, on_step)
    return LipsVectors(say(run, NO_ACCOUNT, rows, own).numpy(), fps, models.key)


def vectors_of_crops(models: FlashLips, crops: Tensor, fps: float) -> LipsVectors:
    """What the lips do in crops (n, H, W, 3), 0..1, of `fps` frames a second.

    Raises `KeySyncError` for crops of another size.
    """
    want_crops(models, crops)
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
) -> Iterator[Tensor | Unchanged]:
    """For each of the crops (n, H, W, 3), 0..1, the crop with the lips of its vector, or why it stays unchanged.

    `masks` (n, H, W), 1 where the mouth is hidden from the editor, are needed unless it works without. References are
    taken from each shot of the `track`, which all crops are without one, or from these pictures (r, H, W, 3). Takes a
    step a frame with a face. Raises `KeySyncError` for crops of another size, vectors of another file or of fewer
    frames, and missing masks.
    """
    want_crops(models, crops)
    vectors.want_frames(len(crops))
    settled = settings.settled(models.spec)
    if masks is None and not settled.mask_free:
        raise KeySyncError(
            "the editor hides the mouth but there is no mask: connect one, or draw without", about="mask"
        )
    masks = torch.zeros(crops.shape[:3]) if masks is None else masks
    found = [True] * len(crops) if track is None else track.found.tolist()
    runs = [(0, len(crops))] if track is None else track.runs()
    follower = models.following(vectors)
    people = _people(models, crops, masks, track, references)
    drawn: dict[int, Iterator[Any]] = {}
    for start, stop in runs:
        shot = 0 if track is None else int(track.shot[start])
        part = slice(start, stop)
        rows = torch.from_numpy(vectors.values[part])
        span = Span(
            stop - start,
            zip(crops[part], masks[part], strict=True),
            {models.spec.speech_encoder: rows},
            shot=shot,
            numbers=range(start, stop) if references is None else (),
        )
        render = replace(follower, people=people).begin(settings, 0, _untimed, on_step)
        drawn |= dict.fromkeys(range(start, stop), iter(render(span)))
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
        want_crops(models, references)
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


def want_crops(models: FlashLips, crops: Tensor) -> None:
    """Raises `KeySyncError` unless crops (n, H, W, 3) have the size that the networks work at."""
    height, width = models.spec.image_size
    if not len(crops) or tuple(crops.shape[1:]) != (height, width, 3):
        raise KeySyncError(
            f"the crops have shape {list(crops.shape)}: expected one or more RGB crops of {width}x{height} pixels",
            about="crops",
        )
