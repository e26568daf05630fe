"""Choosing and warping as two steps, for crops that are all held: the numbers of the renderer that streams."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync import FaceSource, KeySyncError
from keysync.demo import TALK
from keysync.face.crop import crop, crop_boxes, to_crop
from keysync.face.masks import MASKS
from keysync.face.mesh import as_bytes
from keysync.face.mouth import measure
from keysync.face.track import FaceTrack
from keysync.job import survey
from keysync.media.reader import open_video
from keysync.speech.lips_curve import LipsCurve
from keysync.systems.renderer import Later, Look, Span, Unchanged
from keysync.systems.rewrite.bank import NothingToBorrowError
from keysync.systems.rewrite.draw import HIDDEN
from keysync.systems.rewrite.rewriter import NEEDS, UNMOVED, Rewriter, Rewriting
from keysync.systems.rewrite.steps import choose_mouths, make_tools, warp_mouths

from .test_rewriter import make_rewriter

FRAMES = 45
CPU = torch.device("cpu")

Clip = tuple[Tensor, Tensor, FaceTrack]


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Crops and masks of the rendered person's first frames, and their track; something hides the mouth in 20 to 22."""
    _, track = survey(open_video(TALK), FaceSource())
    track = first(track, FRAMES)
    boxes = crop_boxes(track, 0, FRAMES, NEEDS.crop_scale)
    frames = [frame for _, frame in zip(range(FRAMES), (frame for _, frame in open_video(TALK).frames()), strict=False)]
    crops = torch.stack([crop(f, box, NEEDS.crop_size, "bicubic") for f, box in zip(frames, boxes, strict=True)])
    crops[20:23, 250:] = 0
    points = [to_crop(track.landmarks[number], boxes[number], NEEDS.crop_size) for number in range(FRAMES)]
    return crops, torch.stack([MASKS["box"](one, NEEDS.crop_size) for one in points]), track


def first(track: FaceTrack, count: int) -> FaceTrack:
    names = ("landmarks", "confidence", "person", "shot", "filled", "faces", "turned")
    return replace(track, **{name: getattr(track, name)[:count] for name in names})


def speaking(count: int = FRAMES) -> LipsCurve:
    values = np.zeros((count, 5), np.float32)
    values[:, 0] = 0.4 - 0.4 * np.cos(np.arange(count) / 25 * 2 * np.pi * 2)
    values[:, 1] = 0.5 * np.sin(np.arange(count) / 4)
    return LipsCurve(values, 25.0)


def streamed(clip: Clip, curve: LipsCurve, settings: Rewriting) -> list[Tensor | Unchanged]:
    """What the renderer draws, a crop at a time."""
    crops, masks, track = clip
    rewriter = make_rewriter().following(curve)
    looks = (Look(n, int(track.shot[n]), crops[n], masks[n]) for n in range(len(crops)))
    renderer = rewriter.survey(looks, lambda note: None)
    assert isinstance(renderer, Rewriter)
    draw = renderer.begin(settings, 0, lambda stage: nullcontext(), None)
    rows = renderer.encoders["whisper"].encode(torch.zeros(16_000)).at(np.arange(len(crops)) / 25)
    given = zip(crops, masks, strict=True)
    span = Span(len(crops), given, {"whisper": rows}, shot=int(track.shot[0]), numbers=range(len(crops)))
    return [one for one in draw(span) if not isinstance(one, Later)]


def test_two_steps_give_the_numbers_of_one(clip: Clip) -> None:
    settings = Rewriting(1.3)
    expected = streamed(clip, speaking(), settings)
    steps: list[int] = []
    tools = make_tools(CPU, steps.append)
    mouths = choose_mouths(tools, *clip, speaking(), settings)
    assert sum(steps) == 2 * FRAMES
    made = list(warp_mouths(tools, clip[0], mouths))
    assert sum(steps) == 3 * FRAMES
    assert len(made) == len(expected) == mouths.count == FRAMES
    assert [frame for frame, one in enumerate(made) if one is HIDDEN] == [20, 21, 22]
    for ours, theirs in zip(made, expected, strict=True):
        if isinstance(theirs, Unchanged):
            assert ours == theirs
        else:
            assert isinstance(ours, Tensor)
            assert torch.equal(ours, theirs)


def test_frames_and_shots_without_mouths_stay_unchanged(clip: Clip) -> None:
    crops, masks, track = clip
    shot, person = track.shot.copy(), track.person.copy()
    shot[40:], person[5] = 1, -1  # five frames are too few to lend
    tools = make_tools(CPU)
    cut = replace(track, shot=shot, person=person, faces=np.where(person < 0, 0, track.faces))
    mouths = choose_mouths(tools, crops, masks, cut, speaking(), Rewriting())
    assert [(span.start, len(span.frames)) for span in mouths.spans] == [(0, 5), (6, 34)]
    made = list(warp_mouths(tools, crops, mouths))
    assert made[5] == Unchanged("no face found")
    assert made[40:] == [UNMOVED] * 5
    assert isinstance(made[4], Tensor)
    assert isinstance(made[6], Tensor)


def test_what_the_steps_refuse(clip: Clip) -> None:
    crops, masks, track = clip
    tools = make_tools(CPU)
    with pytest.raises(KeySyncError, match=r"the crops are 128x96 but .* square crops of up to 512x512"):
        choose_mouths(tools, torch.zeros(FRAMES, 96, 128, 3), masks, track, speaking(), Rewriting())
    with pytest.raises(KeySyncError, match="covers 44 frames but there are 45"):
        choose_mouths(tools, crops, masks, track, speaking(44), Rewriting())
    widest = int(measure(tools.reader.read(as_bytes(crops)).points)[:, 0].argmax())
    still = crops[widest : widest + 1].expand(FRAMES, -1, -1, -1)
    with pytest.raises(NothingToBorrowError):
        choose_mouths(tools, still, masks, track, speaking(), Rewriting())
    mouths = choose_mouths(tools, crops[:30], masks[:30], first(track, 30), speaking(30), Rewriting())
    with pytest.raises(KeySyncError, match="there are 45 crops but mouths were chosen for 30"):
        next(warp_mouths(tools, crops, mouths))


def test_mouths_that_are_made_are_noted(clip: Clip) -> None:
    crops, masks, track = clip
    tools = make_tools(CPU)
    closed = int(measure(tools.reader.read(as_bytes(crops)).points)[:, 0].argmin())
    still = crops[closed : closed + 1].expand(FRAMES, -1, -1, -1)
    (note,) = choose_mouths(tools, still, masks, track, speaking(), Rewriting()).notes
    assert "teeth, tongue and dark inside are drawn" in note
    assert choose_mouths(tools, crops, masks, track, speaking(), Rewriting()).notes == ()


def test_mouths_turn_into_the_own_ones_next_to_frames_that_stay_unchanged(clip: Clip) -> None:
    values = np.zeros((FRAMES, 5), np.float32)
    values[:, 0] = 1.0
    made = streamed(clip, LipsCurve(values, 25.0), Rewriting())
    changed = [
        0.0 if isinstance(one, Unchanged) else float((one[..., :3] - own).abs().mean())
        for one, own in zip(made, clip[0], strict=True)
    ]
    assert changed[19] < 0.6 * changed[16]
    assert changed[23] < 0.6 * changed[26]
