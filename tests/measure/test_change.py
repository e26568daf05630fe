from __future__ import annotations

import numpy as np
import pytest

from keysync.face.track import FaceTrack, from_landmarks
from keysync.measure.change import Change, ChangeMeter, largest_block
from keysync.measure.region import changeable
from training.synthetic.render.mouth import MouthShape
from training.synthetic.render.shot import Pictures, Shot

SEEDS = (3, 5)
Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def source() -> Pictures:
    return Shot(SEEDS, 6, 192).draw([MouthShape(open=0.4)] * 6)


@pytest.fixture(scope="module")
def track(source: Pictures) -> FaceTrack:
    return from_landmarks(list(source.landmarks), source.frames.shape[1:3])


def compared(source: Frames, dub: Frames, track: FaceTrack) -> Change:
    meter = ChangeMeter(track, "box")
    for pair in zip(source, dub, strict=True):
        meter.add(*pair)
    return meter.finish()


def inside(source: Pictures, track: FaceTrack) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    crops = ChangeMeter(track, "box")._crops
    size = source.frames.shape[1:3]
    return np.stack([changeable(crops, number, track.landmarks[number], "box", size) for number in range(6)])


def test_a_source_beside_itself_has_not_changed(source: Pictures, track: FaceTrack) -> None:
    change = compared(source.frames, source.frames, track)
    assert (change.outside_largest, change.outside_block) == (0, 0.0)
    assert (change.seam, change.colour_shift, change.identity) == pytest.approx((1.0, 0.0, 1.0), abs=1e-5)
    assert change.unchanged


def test_a_shade_inside_the_mask_is_a_shift_and_a_seam(source: Pictures, track: FaceTrack) -> None:
    mask = inside(source, track)[..., None]
    found = []
    for levels in (5, 15):
        shaded = np.clip(source.frames.astype(np.int16) + levels, 0, 255).astype(np.uint8)
        found.append(compared(source.frames, np.where(mask, shaded, source.frames), track))
    assert [one.outside_largest for one in found] == [0, 0]
    assert [one.colour_shift for one in found] == pytest.approx([5 * 3**0.5, 15 * 3**0.5], rel=0.15)
    assert found[1].seam is not None
    assert found[0].seam is not None
    assert found[1].seam > found[0].seam > 1
    assert found[1].identity is not None
    assert found[1].identity > 0.8


def test_another_mouth_in_the_same_face_changes_neither_colour_nor_person(source: Pictures, track: FaceTrack) -> None:
    other = Shot(SEEDS, 6, 192).draw([MouthShape(open=0.0)] * 6).frames
    made = compared(source.frames, np.where(inside(source, track)[..., None], other, source.frames), track)
    stranger = Shot(SEEDS, 6, 192).of_stranger(1).draw([MouthShape(open=0.4)] * 6).frames
    foreign = compared(source.frames, stranger, track)
    assert made.colour_shift is not None
    assert foreign.colour_shift is not None
    assert made.colour_shift < 4
    assert made.colour_shift < foreign.colour_shift
    assert made.identity is not None
    assert foreign.identity is not None
    assert made.identity > foreign.identity
    assert not foreign.unchanged


def test_blocks_outside_are_averaged_and_those_beside_the_mask_left_out() -> None:
    mask = np.zeros((96, 128), np.bool_)
    mask[32:64, 32:64] = True
    noise = np.random.default_rng(0).normal(0, 6, (96, 128, 3)).round().astype(np.int16)
    assert largest_block(noise, mask) < 2
    beside = noise.copy()
    beside[32:64, 64:80] += 40
    assert largest_block(beside, mask) < 2
    away = noise.copy()
    away[80:96, 112:128] += 40
    assert largest_block(away, mask) == pytest.approx(40, abs=2)
    assert largest_block(noise[:8, :8], mask[:8, :8]) == 0


def test_frames_without_a_face_may_not_change_at_all(source: Pictures) -> None:
    none = from_landmarks([None] * 6, source.frames.shape[1:3])
    made = compared(source.frames, source.frames // 2, none)
    assert (made.seam, made.colour_shift, made.identity) == (None, None, None)
    assert made.outside_largest > 20
