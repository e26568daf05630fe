"""A clip that is dubbed again: its face is not followed again, nor surveyed, nor encoded; the result is the same."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import keysync.job
from keysync.cache import Cache, Entry
from keysync.demo import TALK
from keysync.dub import Settings
from keysync.encodings import BLOCK, ClipEncodings
from keysync.face.detectors import make_detector
from keysync.face.track import FaceChoice, FaceTrack
from keysync.job import FaceSource, dub_file, survey
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory
from keysync.memory import ClipMemory
from keysync.report import Report
from keysync.systems.keysync.models import Models, load_models
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.rewrite import rewriter
from keysync.systems.table import SYSTEMS
from keysync.vae.vae import VAE

from .clips import CheapStages, CheapVAE, read_frames, write_speech

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
    pace = ("seconds_per_stage", "seconds_waited", "run_seconds", "estimate")
    told = [{**report.to_dict(), **dict.fromkeys(pace)} for report in (one, other)]
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
    dub(speech, tmp_path / "out.mkv", cache, settings=Settings("cut_off", align=True))
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
        elif one.name == "people":
            assert list(mine) == list(theirs)
        else:
            assert mine == theirs
    assert track.people[0]


@pytest.fixture(scope="module")
def small() -> Models:
    return load_models()


class CountingVAE(CheapVAE):
    """Counts the crops that it encodes; `digest` is that of its encoder."""

    batch = 1
    is_half = False

    def __init__(self, digest: str = "cheap") -> None:
        self.digest, self.encoded = digest, 0

    def encoder_digest(self) -> str:
        return self.digest

    def encode(self, images: Tensor) -> Tensor:
        self.encoded += len(images)
        return super().encode(images)

    def new(self) -> int:
        """The number of crops since it was asked before."""
        self.encoded, count = 0, self.encoded
        return count


class OverflowingVAE(CountingVAE):
    """Halves overflow in its encoder."""

    is_half = True

    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images) * (float("inf") if self.is_half else 1)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        self.is_half = False
        yield
        self.is_half = True


def draw(models: Models, vae: Any, speech: Path, output: Path, cache: Cache | None, **more: Any) -> Report:
    settings = Settings(**{"sampling": Sampling(evaluations=10), **more})
    models = replace(models, vae=vae, origins={})
    return dub_file(clip(), speech, output, models, settings, FaceSource(), lossless=True, cache=cache)


def pictures(folder: Path, *names: str) -> list[NDArray[np.uint8]]:
    return [np.stack(read_frames(folder / f"{name}.mkv")) for name in names]


def test_another_seed_encodes_nothing(small: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the built-in VAE: the numbers are those of a dub without a cache."""
    CheapStages().install(monkeypatch)
    cache, speech = Cache(tmp_path / "cache"), write_speech(tmp_path / "speech.wav", 0.24)
    first = draw(small, small.vae, speech, tmp_path / "first.mkv", cache, seed=1)
    second = draw(small, small.vae, speech, tmp_path / "second.mkv", cache, seed=2)
    plain = draw(small, small.vae, speech, tmp_path / "plain.mkv", None, seed=2)
    assert {"encode", "face track"} <= first.seconds_per_stage.keys()
    assert not {"encode", "face track"} & second.seconds_per_stage.keys()
    assert same(plain, second)
    one, two, three = pictures(tmp_path, "first", "second", "plain")
    assert np.array_equal(two, three)
    assert not np.array_equal(one, two)


@pytest.fixture
def cheap(small: Models, monkeypatch: pytest.MonkeyPatch) -> Models:
    """The built-in models with stages that cost nothing."""
    CheapStages().install(monkeypatch)
    return small


def test_other_speech_and_another_mask_encode_nothing(cheap: Models, speech: Path, tmp_path: Path) -> None:
    cache, vae = Cache(tmp_path / "cache"), CountingVAE()
    first = draw(cheap, vae, speech, tmp_path / "first.mkv", cache)
    assert vae.new() == first.frames
    longer = write_speech(tmp_path / "longer.wav", 1.5 * SECONDS)
    to_and_fro = draw(cheap, vae, longer, tmp_path / "bounced.mkv", cache, sync_mode="bounce", mask="mouth")
    assert to_and_fro.frames > first.frames
    draw(cheap, vae, speech, tmp_path / "again.mkv", cache)
    assert vae.new() == 0
    one, two = pictures(tmp_path, "first", "again")
    assert np.array_equal(one, two)


def test_what_an_encoding_depends_on_is_encoded_anew(cheap: Models, speech: Path, tmp_path: Path) -> None:
    cache, vae = Cache(tmp_path / "cache"), CountingVAE()
    frames = draw(cheap, vae, speech, tmp_path / "out.mkv", cache).frames
    other = CountingVAE("other weights")
    draw(cheap, other, speech, tmp_path / "out.mkv", cache)
    assert (vae.new(), other.new()) == (frames, frames)
    wider = [copy.copy(stage) for stage in (cheap.keyframe, cheap.interpolation)]
    for stage in wider:
        stage.spec = replace(stage.spec, crop_scale=1.5)  # type: ignore[misc]
    draw(
        replace(cheap, keyframe=wider[0], interpolation=wider[1], origins={}), vae, speech, tmp_path / "out.mkv", cache
    )
    assert vae.new() == frames
    draw(cheap, vae, speech, tmp_path / "out.mkv", cache)
    assert vae.new() == 0


def test_the_digest_of_an_encoder_follows_from_its_weights(small: Models) -> None:
    vae = copy.deepcopy(small.vae)
    assert isinstance(vae, VAE)
    assert vae.encoder is not None
    digests = [small.vae.encoder_digest(), vae.encoder_digest()]
    with torch.no_grad():
        next(vae.encoder.parameters()).add_(1e-3)
    digests.append(vae.encoder_digest())
    digests.append(vae.half().encoder_digest())
    assert len(set(digests)) == 3
    assert digests[0] == digests[1]


@pytest.mark.parametrize("damage", ["cut", "one frame", "of other frames", "integers"])
def test_damaged_encodings_are_made_anew(
    damage: str, cheap: Models, speech: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, vae = Cache(tmp_path / "cache"), CountingVAE()
    first = draw(cheap, vae, speech, tmp_path / "first.mkv", cache)
    frames = vae.new()
    (path,) = cache.folder.glob("encodings-*")
    entry = cache.load(path.stem)
    assert entry is not None
    arrays = dict(entry.arrays)
    if damage == "one frame":  # no damage: it is missing
        del arrays["3"]
    elif damage == "of other frames":
        arrays["3"] = np.zeros((2, *arrays["3"].shape[1:]), np.float32)
    elif damage == "integers":
        arrays["3"] = arrays["3"].astype(np.int64)
    cache.store(path.stem, Entry(arrays))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        again = draw(cheap, vae, speech, tmp_path / "again.mkv", cache)
    assert vae.new() == (1 if damage == "one frame" else frames)
    assert (f"{path.stem} in the cache is damaged" in caplog.text) == (damage != "one frame")
    assert same(first, again)
    one, two = pictures(tmp_path, "first", "again")
    assert np.array_equal(one, two)
    draw(cheap, vae, speech, tmp_path / "again.mkv", cache)
    assert vae.new() == 0


def test_what_half_precision_could_not_hold_is_reported_each_time(cheap: Models, speech: Path, tmp_path: Path) -> None:
    """What was repaired is not kept: the next report names it again."""
    cache = Cache(tmp_path / "cache")
    first, second = (draw(cheap, OverflowingVAE(), speech, tmp_path / "out.mkv", cache) for _ in range(2))
    assert any("half precision overflowed in the VAE's encoder" in note for note in first.notes)
    assert same(first, second)


def test_encodings_are_kept_in_blocks_up_to_a_share_of_the_limit(tmp_path: Path) -> None:
    one, shape = torch.arange(256.0).reshape(1, 4, 8, 8), (4, 8, 8)
    cache = Cache(tmp_path, limit=2 * 1024 * 1000)

    def key(block: int) -> str:
        return f"encodings-{block}"

    for _ in range(2):  # the second time, what there is room for is there
        with closing(ClipEncodings(cache, key, "clip")) as kept:
            for number in range(1200):
                found = kept.find([number], shape)
                assert found is None or torch.equal(found, one + number)
                if found is None:
                    kept.keep([number], one + number)
                assert len(kept._held) <= BLOCK
        entries = [cache.load(path.stem) for path in cache.folder.glob("*.safetensors")]
        assert sum(len(entry.arrays) for entry in entries if entry is not None) == 1000
    with closing(ClipEncodings(cache, key, "clip")) as kept:
        assert kept.find([5], (4, 9, 9)) is None
        assert kept.find([5, 6], shape) is None  # encoded together, they may differ
        assert kept.find([1199], shape) is None
        for number in (5, BLOCK - 1, BLOCK, BLOCK - 1, BLOCK):  # to and fro across the edge of two blocks
            assert kept.find([number], shape) is not None
