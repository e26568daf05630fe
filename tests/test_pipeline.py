"""Stages of a dub overlap, and what overlaps changes no result and leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import keysync.job
from keysync.dub import Settings
from keysync.early import Early
from keysync.errors import KeySyncError
from keysync.face.face import Face
from keysync.following import Following
from keysync.job import FaceSource, dub_file
from keysync.media.writer import VideoWriter
from keysync.network.stage import ENDS
from keysync.progress import FOLLOWING, Moment
from keysync.report import Report
from keysync.systems.keysync.memo import EnoughError, Memo, key_of_inputs
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.plan import Plan
from keysync.systems.keysync.sampling import Sampling

from .clips import CheapStages, CheapVAE, Quiet, picture, read_frames, write_speech, write_video
from .synthetic_face import face_points

FRAMES, CUT, RATE = 240, 10, 25
# Nothing here takes so many seconds unless it waits for what never happens.
LONG = 60.0
SETTINGS = Settings(sampling=Sampling(evaluations=10, group=1), sync_mode="silence")


@pytest.fixture(autouse=True)
def _ends_its_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("keysync-")}


@dataclass
class Detector:
    """Finds a face, and after `until` frames waits for an event."""

    event: threading.Event = field(default_factory=threading.Event)
    until: int = FRAMES - 10
    frames: int = 0
    waited: bool = False

    def detect(self, *_: object) -> list[Face]:
        self.frames += 1
        if self.frames == self.until:
            self.waited = self.event.wait(LONG)
        return [Face.of(face_points((30, 36), 24), 1.0)]

    def close(self) -> None:
        pass


@dataclass
class Announced(CheapStages):
    """Says when it has begun."""

    begun: threading.Event = field(default_factory=threading.Event)

    def sample(self, *given: Any) -> Tensor:
        self.begun.set()
        return super().sample(*given)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_speech(folder / "speech.wav", FRAMES / RATE)
    return write_video(folder / "in.mp4", map(picture, range(FRAMES)))


def dub(clip: Path, models: Models, output: Path, progress: Any = None, face: FaceSource | None = None) -> Report:
    speech = clip.parent / "speech.wav"
    return dub_file(clip, speech, output, models, SETTINGS, face or FaceSource(), progress, lossless=True)


def cheap_models(models: Models, **changes: Any) -> Models:
    vae: Any = changes.pop("vae", None) or CheapVAE()
    return replace(models, vae=vae, **changes)


def run(
    clip: Path, models: Models, output: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> tuple[Announced, Detector, Report, Quiet]:
    cheap, progress = Announced(), Quiet()
    cheap.install(monkeypatch)
    detector = Detector(cheap.begun if beside else threading.Event(), FRAMES - 10 if beside else -1)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: detector)
    report = dub(clip, cheap_models(models, beside=beside), output, progress)
    return cheap, detector, report, progress


def test_the_network_begins_while_the_face_is_followed(
    clip: Path, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain, _, expected, _ = run(clip, models, tmp_path / "plain.mkv", monkeypatch, beside=False)
    early, detector, report, progress = run(clip, models, tmp_path / "early.mkv", monkeypatch, beside=True)
    assert detector.waited  # the network began before the last frames were followed
    assert np.array_equal(read_frames(tmp_path / "plain.mkv"), read_frames(tmp_path / "early.mkv"))
    assert (report.ranges, report.notes) == (expected.ranges, expected.notes)
    plan = Plan(FRAMES)
    assert len(early.noise) == len(plain.noise) == len(plan.batches) + len(plan.windows)  # each evaluated once
    assert progress.parts["network evaluations"] == [report.network_evaluations] * 2
    assert progress.parts[FOLLOWING][1] == FRAMES


def test_a_wrong_guess_changes_nothing(
    clip: Path, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = Early._known

    def shifted(*given: Any) -> Any:
        found = known(*given)
        return found and (replace(found[0], landmarks=found[0].landmarks + 4), found[1])

    plain, _, expected, _ = run(clip, models, tmp_path / "plain.mkv", monkeypatch, beside=False)
    monkeypatch.setattr(Early, "_known", shifted)
    early, detector, report, _ = run(clip, models, tmp_path / "early.mkv", monkeypatch, beside=True)
    assert detector.waited
    assert np.array_equal(read_frames(tmp_path / "plain.mkv"), read_frames(tmp_path / "early.mkv"))
    assert report.ranges == expected.ranges
    assert len(early.noise) > len(plain.noise)


@pytest.mark.parametrize("beside", [False, True])
def test_frames_are_written_while_the_network_goes_on(
    beside: bool, clip: Path, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written, waited, write = threading.Event(), list[bool](), VideoWriter.write

    def watched(self: VideoWriter, *given: Any) -> None:
        write(self, *given)
        written.set()

    class Waiting(CheapStages):
        def sample(self, *given: Any) -> Tensor:
            if given[0].spec.reference == ENDS and len(self.noise) == 3:
                waited.append(written.wait(LONG))
            return super().sample(*given)

    monkeypatch.setattr(VideoWriter, "write", watched)
    Waiting().install(monkeypatch)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: Detector(until=-1))
    remembered = cheap_models(models, beside=beside)
    monkeypatch.setattr(Models, "remembering", lambda self: self)  # nothing is drawn early
    dub(clip, remembered, tmp_path / "out.mkv")
    assert waited == [True]


def test_a_cut_does_not_stop_the_network(models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The crops of the next clip are encoded while the one before is drawn."""
    write_speech(tmp_path / "speech.wav", 2 * CUT / RATE)
    cut = write_video(tmp_path / "in.mp4", [picture(n, int(n >= CUT)) for n in range(2 * CUT)])
    encoded, waited = threading.Event(), list[bool]()

    class Counted(CheapVAE):
        count = 0

        def encode(self, images: Tensor) -> Tensor:
            self.count += len(images)
            if self.count > CUT:
                encoded.set()
            return super().encode(images)

    class Waiting(CheapStages):
        def sample(self, *given: Any) -> Tensor:
            if not self.noise:
                waited.append(encoded.wait(LONG))
            return super().sample(*given)

    Waiting().install(monkeypatch)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: Detector(until=-1))
    report = dub(cut, cheap_models(models, vae=Counted(), beside=True), tmp_path / "out.mkv")
    assert waited == [True]
    assert report.count("dubbed") == 2 * CUT


def test_cancelling_while_it_draws_early_leaves_nothing(
    clip: Path, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cheap = Announced()
    cheap.install(monkeypatch)

    class Cancelled(Quiet):
        def show(self, moment: Moment) -> None:
            if moment.phase == FOLLOWING and cheap.begun.is_set():
                raise KeyboardInterrupt

    detector = Detector(cheap.begun)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: detector)
    with pytest.raises(KeyboardInterrupt):
        dub(clip, cheap_models(models, beside=True), tmp_path / "out.mkv", Cancelled())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["encode", "decode"])
def test_an_error_in_another_thread_ends_the_dub(
    part: str, clip: Path, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Broken(CheapVAE):
        def encode(self, images: Tensor) -> Tensor:
            return self._made("encode", super().encode(images))

        def decode(self, latents: Tensor) -> Tensor:
            return self._made("decode", super().decode(latents))

        def _made(self, name: str, made: Tensor) -> Tensor:
            return torch.full_like(made, torch.nan) if name == part else made

    CheapStages().install(monkeypatch)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: Detector(until=-1))
    with pytest.raises(KeySyncError, match=f"the VAE's {part}r gives numbers that are not finite for frames 0-"):
        dub(clip, cheap_models(models, vae=Broken(), beside=True), tmp_path / "out.mkv")
    assert not list(tmp_path.iterdir())


# The parts


def test_following_is_stopped_with_its_block() -> None:
    followed = list[int]()

    def follow(on_frame: Any) -> None:
        while True:
            on_frame()

    def stop() -> None:
        followed.append(1)
        if len(followed) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Following(follow, stop) as following:
        following.result()
    assert len(followed) == 3


def test_an_error_of_following_is_raised_at_the_end() -> None:
    def follow(on_frame: Any) -> None:
        on_frame()
        raise KeySyncError("no face")

    with Following(follow, lambda: None) as following:
        assert following.ended() in (False, True)
        with pytest.raises(KeySyncError, match="no face"):
            following.result()


def test_a_memo_knows_inputs_bit_for_bit_and_gives_each_once() -> None:
    memo, given, result = Memo(), torch.arange(6.0).reshape(2, 3), torch.ones(4)
    with memo.learning(lambda: False):
        key = key_of_inputs("a", [given])
        found = memo.find(key)
        assert found is None
        memo.keep(key, result)
        assert memo.find(key_of_inputs("a", [given])) is result
    assert memo.find(key_of_inputs("b", [given])) is None
    assert memo.find(key_of_inputs("a", [given.reshape(3, 2)])) is None
    assert memo.find(key_of_inputs("a", [torch.nextafter(given, given + 1)])) is None
    assert memo.find(key_of_inputs("a", [given.clone()])) is result
    assert memo.find(key_of_inputs("a", [given])) is None


def test_a_memo_is_full_or_has_enough() -> None:
    memo = Memo(room=20)
    with memo.learning(lambda: False):
        memo.check()
        memo.keep(b"1", torch.ones(4))
        memo.keep(b"2", torch.ones(4))
        memo.keep(b"3", torch.ones(4))
        with pytest.raises(EnoughError):
            memo.check()
    assert sorted(memo._made) == [b"1", b"2"]
    memo.check()
    with memo.learning(lambda: True), pytest.raises(EnoughError):
        memo.check()


@pytest.mark.parametrize(("known", "steady"), [(0, 0), (156, 0), (157, 157), (325, 157), (326, 326), (1000, 833)])
def test_whole_batches_depend_on_no_later_frame(known: int, steady: int, models: Models) -> None:
    assert models.steady(known) == steady
    if steady:
        windows = Plan(steady, models.keyframe.spec.window)
        longer = Plan(steady + 500, models.keyframe.spec.window)
        assert windows.batches == longer.batches[: len(windows.batches)]
        assert windows.windows == longer.windows[: len(windows.windows)]
