"""A clip that is dubbed again: its face is not followed again, nor surveyed; the result is the same."""

from __future__ import annotations

import logging
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import keysync.job
from keysync.cache import Cache
from keysync.demo import TALK
from keysync.dub import Settings
from keysync.face.detectors import make_detector
from keysync.face.track import FaceChoice, FaceTrack
from keysync.job import FaceSource, dub_file, survey
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory
from keysync.memory import ClipMemory
from keysync.report import Report
from keysync.systems.rewrite import rewriter
from keysync.systems.table import SYSTEMS

from .clips import read_frames, write_speech

SECONDS, RATE = 0.8, Fraction(25)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav", SECONDS)


def clip() -> VideoReader:
    return VideoReader(TALK, 0, SECONDS)


def dub(speech: Path, output: Path, cache: Cache | None, video: Any = None, **more: Any) -> Report:
    row = SYSTEMS["rewrite"]
    models = row.load({}, device=torch.device("cpu"), dtype=None)
    choices = {"settings": Settings("cut_off"), "face": FaceSource(), "lossless": True, **more}
    return dub_file(video or clip(), speech, output, models, cache=cache, **choices)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was worked out."""
    done: list[str] = []
    follow, collect = make_detector, rewriter.collect

    def made(*how: Any, **more: Any) -> Any:
        done.append("follow")
        return follow(*how, **more)

    def collected(*what: Any) -> Any:
        done.append("survey")
        return collect(*what)

    monkeypatch.setattr(keysync.job, "make_detector", made)
    monkeypatch.setattr(rewriter, "collect", collected)
    return done


def same(one: Report, other: Report) -> bool:
    told = [{**report.to_dict(), "seconds_per_stage": None} for report in (one, other)]
    return told[0] == told[1]


def test_the_second_dub_follows_and_surveys_nothing(speech: Path, tmp_path: Path, counted: list[str]) -> None:
    cache = Cache(tmp_path / "cache")
    plain = dub(speech, tmp_path / "plain.mkv", None)
    first = dub(speech, tmp_path / "first.mkv", cache)
    assert counted == ["follow", "survey"] * 2
    counted.clear()
    second = dub(speech, tmp_path / "second.mkv", cache)
    assert counted == []
    assert "face track" in first.seconds_per_stage
    assert "face track" not in second.seconds_per_stage
    assert same(plain, first)
    assert same(first, second)
    results = [np.stack(read_frames(tmp_path / f"{name}.mkv")) for name in ("plain", "first", "second")]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_what_a_track_depends_on_is_followed_anew(
    speech: Path, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    dub(speech, tmp_path / "out.mkv", cache)
    counted.clear()
    dub(speech, tmp_path / "out.mkv", cache, VideoReader(TALK, 0.2, SECONDS))
    assert counted == ["follow", "survey"]
    counted.clear()
    copy = tmp_path / "talk.mp4"
    copy.write_bytes(TALK.read_bytes())
    dub(speech, tmp_path / "out.mkv", cache, VideoReader(copy, 0, SECONDS))
    assert counted == ["follow", "survey"]
    counted.clear()
    # The same face by other means: only the face is followed anew.
    dub(speech, tmp_path / "out.mkv", cache, face=FaceSource(FaceChoice(0, (160.0, 160.0))))
    assert counted == ["follow"]
    counted.clear()
    dub(speech, tmp_path / "out.mkv", cache, settings=Settings("cut_off", mask="mouth"))
    assert counted == ["survey"]
    counted.clear()
    monkeypatch.setattr("keysync.cache.__version__", "another")
    dub(speech, tmp_path / "out.mkv", cache)
    assert counted == ["follow", "survey"]


def test_frames_in_memory_are_known_by_their_numbers(speech: Path, tmp_path: Path, counted: list[str]) -> None:
    cache = Cache(tmp_path / "cache")
    frames = np.stack([frame for _, frame in clip().frames()])
    dub(speech, tmp_path / "out.mkv", cache, FramesInMemory("frames", frames, RATE))
    counted.clear()
    dub(speech, tmp_path / "out.mkv", cache, FramesInMemory("again", frames.copy(), RATE))
    assert counted == []
    frames[5, 0, 0, 0] ^= 1
    dub(speech, tmp_path / "out.mkv", cache, FramesInMemory("changed", frames, RATE))
    assert counted == ["follow", "survey"]


def test_an_occluder_is_part_of_the_survey(speech: Path, tmp_path: Path, counted: list[str]) -> None:
    cache = Cache(tmp_path / "cache")
    height, width = clip().info.height, clip().info.width
    for number in range(3):
        white = np.zeros((1, height, width, 3), np.uint8)
        white[0, :, : number // 2] = 255
        dub(speech, tmp_path / "out.mkv", cache, occluder=FramesInMemory("mask", white, RATE))
    assert counted == ["follow", "survey", "survey"]


@pytest.mark.parametrize("kind", ["track", "survey"])
@pytest.mark.parametrize("damage", ["cut", "other arrays"])
def test_a_damaged_entry_is_made_anew(
    kind: str, damage: str, speech: Path, tmp_path: Path, counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path / "cache")
    first = dub(speech, tmp_path / "out.mkv", cache)
    (path,) = cache.folder.glob(f"{kind}-*")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        entry = cache.load(path.stem)
        assert entry is not None
        name = "landmarks" if kind == "track" else "shots"
        cache.store(path.stem, type(entry)({**entry.arrays, name: entry.arrays[name][:0] - 1}, entry.facts))
        if kind == "survey":
            arrays = {one: array for one, array in entry.arrays.items() if one != "seen.mesh"}
            cache.store(path.stem, type(entry)(arrays, entry.facts))
    counted.clear()
    with caplog.at_level(logging.WARNING):
        again = dub(speech, tmp_path / "out.mkv", cache)
    assert counted == ["follow" if kind == "track" else "survey"]
    assert f"{path.stem} in the cache is damaged" in caplog.text
    assert same(first, again)
    counted.clear()
    dub(speech, tmp_path / "out.mkv", cache)
    assert counted == []


@pytest.mark.parametrize("rendered", [True, False])
def test_what_was_chosen_automatically_is_kept(
    rendered: bool, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysync.systems.automatic.RenderedFaces.are_rendered", lambda *_: rendered)
    models = SYSTEMS["auto"].load({}, device=torch.device("cpu"), dtype=None)
    cache, video = Cache(tmp_path / "cache"), VideoReader(TALK, 0, 0.4)
    first, second = (
        dub_file(video, speech, tmp_path / "out.mkv", models, Settings(), FaceSource(), lossless=True, cache=cache)
        for _ in range(2)
    )
    assert same(first, second)
    assert first.system == ("keysync" if rendered else "rewrite")
    assert any(f"drawn by {first.system}" in note for note in second.notes)
    assert "face track" not in second.seconds_per_stage


def test_a_track_is_recalled_whole(tmp_path: Path) -> None:
    memory = [ClipMemory(Cache(tmp_path), clip()) for _ in range(2)]
    face = FaceSource()
    pts, track = memory[0].follow(face.causes(), lambda: survey(clip(), face))
    again, recalled = memory[1].follow(face.causes(), lambda: pytest.fail("it is followed again"))
    assert memory[1].hits == ["track"]
    assert np.array_equal(pts, again)
    for one in fields(FaceTrack):
        mine, theirs = getattr(track, one.name), getattr(recalled, one.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
        else:
            assert mine == theirs
    assert track.people[0]
