"""Rewrite in two steps, for callers that hold all crops of a clip: mouths are chosen, then warped into place.

Each step runs the code of the renderer, which takes both at once, and gives its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...face.mesh import MeshReader, as_bytes
from ...face.track import FaceTrack
from ...speech.lips_curve import LipsCurve
from ..renderer import Look, OnStep, Span, Unchanged
from .bank import Person
from .draw import Chosen, Drawn, Tools, choose_span, warp_span
from .rewriter import NEEDS, UNMOVED, Rewriting, collect, notes_of, wanted_of


def make_tools(device: torch.device, on_step: OnStep | None = None) -> Tools:
    """What both steps work with; `on_step` is called with the number of steps made: it may raise to stop."""

    def untimed(stage: str) -> AbstractContextManager[None]:
        return nullcontext()

    return Tools(MeshReader(device), device, untimed, on_step)


@dataclass(frozen=True, eq=False)
class SpanMouths:
    """A person's mouths, and what was chosen for the frames from `start` on."""

    person: Person
    start: int
    frames: Sequence[Chosen]


@dataclass(frozen=True, eq=False)
class ClipMouths:
    """The mouths chosen for a clip: `spans` in order, for each frame outside them why it stays `unchanged`, and
    `notes` for a person."""

    spans: Sequence[SpanMouths]
    unchanged: dict[int, Unchanged]
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.unchanged) + sum(len(span.frames) for span in self.spans)


def choose_mouths(
    tools: Tools, crops: Tensor, masks: Tensor, track: FaceTrack, lips: LipsCurve, settings: Rewriting
) -> ClipMouths:
    """The mouths for crops (n, H, W, 3), 0..1, cut along `track`, with masks (n, H, W).

    Crops are square and no larger than `NEEDS` says. The lips are those of the frames. Takes two steps a frame with a
    face. Raises `KeySyncError` for other crops and a curve that is too short, `NothingToBorrowError` for a clip that
    has no mouths to lend.
    """
    want_crops(crops)
    lips.want_frames(len(crops))
    bank = collect(tools.reader, _looks(tools, crops, masks, track))
    spans, unchanged = [], {}
    for frame in range(len(crops)):
        if not track.found[frame]:
            unchanged[frame] = Unchanged(track.why_not(frame))
    for start, stop in track.runs():
        shot, numbers = int(track.shot[start]), range(start, stop)
        person = bank.people.get(shot)
        if person is None:
            unchanged |= dict.fromkeys(numbers, UNMOVED)
            continue
        given = zip(crops[start:stop], masks[start:stop], strict=True)
        span = Span(len(numbers), given, {}, shot=shot, numbers=numbers)
        wanted = wanted_of(person, lips.values[start:stop], settings)
        chosen = [held.without_crop() for held in choose_span(tools, bank, span, wanted)]
        spans.append(SpanMouths(person, start, chosen))
    return ClipMouths(spans, unchanged, tuple(notes_of(bank)))


def _looks(tools: Tools, crops: Tensor, masks: Tensor, track: FaceTrack) -> Iterator[Look]:
    for number in track.found.nonzero()[0].tolist():
        if tools.on_step is not None:
            tools.on_step(1)
        yield Look(number, int(track.shot[number]), crops[number], masks[number])


def warp_mouths(tools: Tools, crops: Tensor, mouths: ClipMouths) -> Iterator[Drawn]:
    """For each of the crops (n, H, W, 3), 0..1, the crop with its new mouth, or why it stays unchanged; in order.

    The fourth channel says how much of the crop to show. Takes a step a frame. Raises `KeySyncError` for other crops
    than those that the mouths were chosen for.
    """
    want_crops(crops)
    if len(crops) != mouths.count:
        raise KeySyncError(
            f"there are {len(crops)} crops but mouths were chosen for {mouths.count}: use the same crops for both"
        )
    drawn: dict[int, Iterator[Drawn]] = {}
    for span in mouths.spans:
        held = (one.on(as_bytes(crops[number])) for number, one in enumerate(span.frames, span.start))
        drawn |= dict.fromkeys(range(span.start, span.start + len(span.frames)), warp_span(tools, span.person, held))
    for frame in range(len(crops)):
        yield mouths.unchanged.get(frame) or next(drawn[frame])
        if tools.on_step is not None:
            tools.on_step(1)


def want_crops(crops: Tensor) -> None:
    """Raises `KeySyncError` unless crops (n, H, W, 3) are square and no larger than mouths are drawn."""
    height, width = crops.shape[1:3]
    if height != width or height > NEEDS.crop_size[0]:
        most = "{1}x{0}".format(*NEEDS.crop_size)
        raise KeySyncError(
            f"the crops are {width}x{height} but mouths are drawn on square crops of up to {most}", about="crops"
        )
