"""Pieces of any size give the same frames, few are held, and a file that is dubbed live is the file that is dubbed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from keysync import FaceSource, Settings, dub_file
from keysync.errors import KeySyncError
from keysync.face.face import Frame
from keysync.face.track import FaceChoice
from keysync.live.live import LATE, Live, LiveFrame
from keysync.report import DUBBED, PASSED_THROUGH
from keysync.systems.flashlips.models import FlashLips
from keysync.systems.flashlips.vectors import LipsVectors

from ..clips import read_frames
from ..media.test_audio import tones
from .conftest import FRAMES, MISSED, Finder

RATE = 16_000
SPEECH = tones(FRAMES / 25, RATE)


def live_of(models: FlashLips, **more: Any) -> Live:
    return Live(models, Finder(), 25.0, **more)


def run(live: Live, pictures: list[Frame], frames: int, samples: int) -> Iterator[LiveFrame]:
    """What comes out where so many frames and samples come at once, the sound always a little later."""
    sent = heard = 0
    sound = SPEECH.astype(np.float32)
    while sent < len(pictures) or heard < sound.shape[1]:
        for number in range(sent, min(sent + frames, len(pictures))):
            live.add_frame(pictures[number], number / 25)
        sent = min(sent + frames, len(pictures))
        while heard < min(sent * RATE // 25, sound.shape[1]) or (sent == len(pictures) and heard < sound.shape[1]):
            live.add_sound(sound[:, heard : heard + samples], RATE)
            heard += samples
        yield from live.frames()
    live.end_frames()
    live.end_sound()
    yield from live.frames()


@pytest.fixture(scope="module")
def whole(models: FlashLips, pictures: list[Frame]) -> list[LiveFrame]:
    """All frames and sounds in one piece."""
    return [*run(live_of(models), pictures, FRAMES, SPEECH.shape[1])]


@pytest.mark.parametrize(("frames", "samples"), [(1, 160), (3, 999), (16, 20_000)])
def test_pieces_of_any_size_give_the_same_frames(
    models: FlashLips, pictures: list[Frame], whole: list[LiveFrame], frames: int, samples: int
) -> None:
    made = [*run(live_of(models), pictures, frames, samples)]
    assert [one.number for one in made] == list(range(FRAMES))
    for one, other in zip(made, whole, strict=True):
        assert (one.seconds, one.state, one.reason) == (other.seconds, other.state, other.reason)
        assert (one.picture == other.picture).all()


def test_only_mouths_change_and_each_frame_says_why_not(whole: list[LiveFrame], pictures: list[Frame]) -> None:
    """Short misses of the detector are bridged."""
    lost = [number for number in range(FRAMES) if whole[number].state == PASSED_THROUGH]
    assert lost == sorted(MISSED - {6, 15, 16, 17})
    assert {whole[number].reason for number in lost} == {"no face found"}
    for one, before in zip(whole, pictures, strict=True):
        changed = (one.picture != before).any(-1)
        assert changed.any() == (one.state == DUBBED)
        assert not changed[:30].any()  # above the nose


@pytest.mark.parametrize("batch", [1, 5])
def test_few_frames_are_held(models: FlashLips, pictures: list[Frame], batch: int) -> None:
    """A batch and what is needed ahead, however long it lasts."""
    live = live_of(models, batch=batch)
    most = 0
    for number, frame in enumerate(pictures):
        live.add_frame(frame, number / 25)
        live.add_sound(SPEECH[:, number * 640 : (number + 1) * 640].astype(np.float32), RATE)
        most = max(most, live.held)
        for _ in live.frames():
            pass
    assert most == live.most_held == batch + live.ahead
    assert live.first == FRAMES - live.held


def test_the_seed_decides_how_the_lips_move(models: FlashLips, pictures: list[Frame], whole: list[LiveFrame]) -> None:
    other = [*run(live_of(models, seed=1), pictures, FRAMES, SPEECH.shape[1])]
    assert any((one.picture != two.picture).any() for one, two in zip(whole, other, strict=True))


def test_frames_that_are_late_come_out_as_they_are(models: FlashLips, pictures: list[Frame]) -> None:
    """And the others are dubbed; none is lost."""
    live = live_of(models)
    for number, frame in enumerate(pictures):
        live.add_frame(frame, number / 25)
    live.end_frames()
    live.end_sound()
    made = live.take() + live.take(draw=False) + [*live.frames()]
    assert [one.number for one in made] == list(range(FRAMES))
    late = [one.number for one in made if one.reason == LATE]
    assert late == list(range(8, 16))
    assert all((made[number].picture == pictures[number]).all() for number in late)
    assert all(one.state == DUBBED for one in made[:8] + made[17:25])


def test_nothing_is_drawn_before_its_speech_has_come(models: FlashLips, pictures: list[Frame]) -> None:
    live = live_of(models)
    for number, frame in enumerate(pictures):
        live.add_frame(frame, number / 25)
    assert live.has_frames
    assert not live.ready
    live.add_sound(np.zeros((1, 16 * 640 - 1), np.float32), RATE)
    assert not live.ready
    with pytest.raises(ValueError, match="has not come"):
        live.take()
    live.add_sound(np.zeros((1, 1), np.float32), RATE)
    assert live.ready


def dubbed(
    models: FlashLips, clip: dict[str, Path], output: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Frame], FlashLips]:
    """The frames of a dub, and the renderer that has surveyed the clip."""
    kept: list[FlashLips] = []
    survey = FlashLips.survey

    def remembering(self: FlashLips, *given: Any) -> Any:
        known = survey(self, *given)
        assert isinstance(known, FlashLips)
        kept.append(known)
        return known

    monkeypatch.setattr(FlashLips, "survey", remembering)
    settings = Settings(sync_mode="silence")
    dub_file(clip["video"], clip["speech"], output, models, settings, FaceSource(), lossless=True)
    return read_frames(output), kept[0]


@pytest.mark.usefixtures("found")
def test_a_file_that_is_dubbed_live_is_the_dub(
    models: FlashLips, clip: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[Frame]
) -> None:
    """With the same lips and references: the face, its crops, what is drawn and pasted are the same. A frame that is a
    reference is drawn without itself in a dub alone."""
    generator = torch.Generator().manual_seed(3)
    lips = LipsVectors(torch.randn(FRAMES, 12, generator=generator).numpy(), 25.0, models.key)
    expected, surveyed = dubbed(models.following(lips), clip, tmp_path / "out.mkv", monkeypatch)
    person = next(iter(surveyed.people.values()))
    live = live_of(replace(surveyed, people={0: person}))
    made = [*run(live, pictures, 4, 1000)]
    apart = [int(np.abs(one.picture.astype(int) - other).max()) for one, other in zip(made, expected, strict=True)]
    assert {number for number, most in enumerate(apart) if most > 1} <= set(person.numbers)
    changed = [bool((one.picture != before).any()) for one, before in zip(made, pictures, strict=True)]
    assert sum(changed) == FRAMES - 8


def test_what_cannot_be_dubbed_live_is_refused(models: FlashLips, pictures: list[Frame]) -> None:
    with pytest.raises(KeySyncError, match="has 60 frames a second but a live dub takes 20 to 33"):
        Live(models, Finder(), 60.0)
    with pytest.raises(KeySyncError, match="chosen by its number or by a place"):
        live_of(models, choice=FaceChoice(speaking=True))
    with pytest.raises(KeySyncError, match="a batch of 0 frames"):
        live_of(models, batch=0)
    with pytest.raises(KeySyncError, match="unknown mask 'nose'"):
        live_of(models, mask="nose")
    live = live_of(models)
    live.add_frame(pictures[0], 0.0)
    with pytest.raises(KeySyncError, match="expected rising times"):
        live.add_frame(pictures[1], 0.0)
    with pytest.raises(KeySyncError, match="expected one size throughout"):
        live.add_frame(pictures[1][:40], 0.04)
    live.add_sound(np.zeros((1, 100), np.float32), RATE)
    with pytest.raises(KeySyncError, match="has 8000 samples a second after 16000"):
        live.add_sound(np.zeros((1, 100), np.float32), 8000)


def test_a_face_that_is_not_there_yet_may_still_come(models: FlashLips, pictures: list[Frame]) -> None:
    made = [*run(live_of(models, choice=FaceChoice(1)), pictures, 9, 1000)]
    assert {one.state for one in made} == {PASSED_THROUGH}
    assert "the chosen face is not visible" in {one.reason for one in made}
