"""A preparation from videos to shards: what is discarded is named, what is done stays done, the bytes stay the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face import detectors
from tests.tiny_models import write_tiny_models
from training.data.index import SPLITS
from training.data.preparation import encode, finding, job, stages
from training.data.preparation.faces import follow
from training.data.preparation.models import Models
from training.data.preparation.report import Report
from training.data.preparation.settings import TRACKER, ModelFile
from training.data.preparation.stages import WORK
from training.data.shards import Shards

from .emotion_file import write_predictor
from .small_videos import FACE, NO_FACE, BrightnessDetector, small_settings, tiny_models, write_talk


@pytest.fixture(scope="module", autouse=True)
def _detector() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two videos that are fit for training."""
    folder = tmp_path_factory.mktemp("videos")
    write_talk(folder / "one.mp4", [(FACE, 15)])
    write_talk(folder / "two.mp4", [(FACE, 14), (NO_FACE, 5), (FACE, 25)])
    return folder


@pytest.fixture(scope="module")
def first_run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The data that the two videos give."""
    data = tmp_path_factory.mktemp("first")
    return data, run(data, [videos])


@pytest.fixture
def data(first_run: tuple[Path, Report], tmp_path: Path) -> Path:
    """A copy of that data, which keeps the times of its files."""
    return shutil.copytree(first_run[0], tmp_path / "data")


def run(data: Path, given: list[Path], **changes: Any) -> Report:
    return job.prepare(given, small_settings(data, **changes), validation=0.5)


def results(data: Path) -> dict[str, int]:
    """When each stage of each video was made, by VIDEO/STAGE."""
    return {
        f"{done.parts[-3].split('-')[0]}/{done.parts[-2]}": done.stat().st_mtime_ns
        for done in (data / WORK).glob("*/*/done.json")
    }


def made_since(before: dict[str, int], data: Path) -> set[str]:
    return {name for name, time in results(data).items() if before.get(name) != time}


def packed(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*data.glob("*.tar"), data / "index.json"]}


def test_with_a_host_s_models(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those given are used, PySceneDetect is not needed, and every stage that begins is told."""
    monkeypatch.setattr(finding, "load_detector", lambda: pytest.fail("PySceneDetect was asked"))
    settings = small_settings(tmp_path / "data", cuts=TRACKER)
    models = Models(settings)
    seen: list[str] = []
    encoded: list[int] = []
    vae = models.vae
    posterior = vae.posterior

    def told(images: Tensor) -> tuple[Tensor, Tensor]:
        encoded.append(len(images))
        return posterior(images)

    monkeypatch.setattr(vae, "posterior", told)
    watch = lambda video, stage: seen.append(f"{video.name} {stage}")  # noqa: E731
    report = job.prepare([videos], settings, validation=0.5, models=models, watch=watch)
    assert report.clips == 3
    assert sum(encoded) == 15 + 14 + 25
    assert seen == [f"{video}.mp4 {stage.name}" for video in ("one", "two") for stage in stages.table(settings, models)]
    seen.clear()
    assert job.prepare([videos], settings, validation=0.5, models=models, watch=watch).clips == 3
    assert not seen


def test_what_training_gets(first_run: tuple[Path, Report]) -> None:
    data, report = first_run
    shards = Shards(data)
    clips = {clip.key.split("-")[0] + clip.key[-3:]: clip for split in SPLITS for clip in shards.clips(split)}
    assert {name: clip.frames for name, clip in clips.items()} == {"one000": 15, "two000": 14, "two019": 25}
    assert {clip.key.split("-")[0] for clip in shards.clips("train")} in ({"one"}, {"two"})
    assert shards.info.vae == tiny_models()["vae"].origin
    assert (shards.resolution, shards.latent_size) == ((64, 64), (8, 8))
    for clip in clips.values():
        n, channels = clip.frames, shards.channels("hubert")
        assert shards.array(clip, "latents.npy", (n, 2, 4, 8, 8)).dtype == np.float16
        assert shards.array(clip, "hubert.npy", (2 * n, channels)).std() > 0
        assert shards.array(clip, "wavlm.npy", (2 * n, channels)).std() > 0
        points = shards.array(clip, "landmarks.npy", (n, 68, 2))
        assert points.min() >= 0
        assert points.max() <= 63
        assert shards.picture(clip, n - 1).shape == (64, 64, 3)
        assert {"json", "flac", "mp4"} < set(clip.members)
    label = json.loads(next(data.glob("work/two-*/labels/*-000019.json")).read_text())
    assert label.pop("sharpness") > 0
    assert -1 <= label.pop("speaker_score") <= 1
    assert label == {"video": "two.mp4", "start": 19 / 25, "frames": 25, "seconds": 1.0}
    assert (report.videos, report.videos_kept, report.clips, report.seconds_kept) == (2, 2, 3, 54 / 25)
    assert report.discarded["no face"].videos == {"two.mp4": {"seconds": 0.2, "why": "5 of 44 frames"}}


def test_what_is_discarded_is_named(videos: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(videos, tmp_path / "videos")
    write_talk(folder / "bright.mp4", [(NO_FACE, 20)])
    write_talk(folder / "mute.mp4", [(FACE, 20)], sound=0)
    write_talk(folder / "short.mp4", [(FACE, 13)])
    write_talk(folder / "half.mp4", [(FACE, 40)], sound=0.7)
    shutil.copy(folder / "one.mp4", folder / "same.mp4")
    whole = (folder / "one.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("no video")
    report = run(data, [folder])
    assert {reason: set(loss.videos) for reason, loss in report.discarded.items()} == {
        "cannot be read": {"cut.mp4", "text.mp4"},
        "no sound": {"mute.mp4"},
        "no face": {"bright.mp4", "two.mp4"},
        "too short": {"short.mp4"},
        "the sound ends": {"half.mp4"},
        "the same as another": {"same.mp4"},
    }
    assert "text.mp4" in report.discarded["cannot be read"].videos["text.mp4"]["why"]
    lost = sum(loss.seconds for loss in report.discarded.values())
    assert report.seconds == pytest.approx(report.seconds_kept + lost)
    assert report.discarded["the sound ends"].seconds == pytest.approx((40 - 0.7 * 25) / 25, abs=0.1)
    assert (report.videos, report.videos_kept) == (9, 3)
    assert json.loads((data / "report.json").read_text())["videos_kept"] == 3


def test_a_video_that_fails_stops_nothing(
    videos: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library cannot get through one video, and a clip of the other has features that are not finite."""
    write_talk(videos / "bad.mp4", [(FACE, 20)])
    write_talk(videos / "odd.mp4", [(FACE, 21)])
    rows, crops = encode.speech_rows, encode.write_crops

    def not_finite(waveform: Tensor, encoder: Any) -> Any:
        odd = 21 <= len(waveform) / 640 < 25
        return encode._half(waveform[None] * float("nan"), "x") if odd else rows(waveform, encoder)

    def fail(reader: Any, faces: Any, start: int, stop: int, *rest: Any) -> None:
        if stop - start == 20:
            raise ZeroDivisionError("in a library")
        crops(reader, faces, start, stop, *rest)

    monkeypatch.setattr(encode, "speech_rows", not_finite)
    monkeypatch.setattr(encode, "write_crops", fail)
    try:
        report = run(data, [videos])
        failed = report.discarded[job.FAILED].videos
        assert {name: video["seconds"] for name, video in failed.items()} == {"bad.mp4": 0.8, "odd.mp4": 0.84}
        assert failed["bad.mp4"]["why"] == "the stage crops failed (ZeroDivisionError: in a library)"
        assert "the stage hubert failed: x returns values that are not finite" in failed["odd.mp4"]["why"]
        assert (report.clips, report.videos_kept) == (3, 2)
        assert report.seconds == pytest.approx(
            report.seconds_kept + sum(loss.seconds for loss in report.discarded.values())
        )
        with pytest.raises(KeySyncError, match=r"2 videos failed, 1 may; the last: odd.mp4: the stage hubert failed"):
            job.prepare([videos], small_settings(data), validation=0.5, max_failures=1)
        with pytest.raises(KeySyncError, match=r"a video failed; the last: bad.mp4"):
            job.prepare([videos], small_settings(data), validation=0.5, max_failures=0)
        monkeypatch.undo()
        assert run(data, [videos]).clips == 5  # tried again
    finally:
        for name in ("bad", "odd"):
            (videos / f"{name}.mp4").unlink()


def test_all_is_discarded(data: Path, videos: Path) -> None:
    report = run(data, [videos], least_quality=1e9)
    assert (report.clips, report.seconds_kept) == (0, 0)
    assert set(report.discarded["poor picture"].videos) == {"one.mp4", "two.mp4"}
    assert not (data / "index.json").exists()


def test_a_listed_file_that_is_gone(videos: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{videos / 'one.mp4'}\ngone.mp4\n")
    report = run(data, [tmp_path / "list.txt"])
    assert report.discarded["cannot be read"].videos["gone.mp4"]["why"] == "No such file or directory"
    assert report.videos_kept == 1


def test_stopped_in_the_middle_it_goes_on(
    videos: Path, first_run: tuple[Path, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, write_latents = tmp_path / "data", encode.write_latents

    def stop_at_two(vae: Any, pictures: Any, folder: Path, key: str) -> None:
        if "two" in key:
            raise KeyboardInterrupt
        write_latents(vae, pictures, folder, key)

    monkeypatch.setattr(encode, "write_latents", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        run(data, [videos])
    assert not (data / "index.json").exists()
    before = results(data)
    assert "one/latents" in before
    assert "two/speech" in before
    monkeypatch.undo()
    run(data, [videos])
    assert made_since(before, data) == {"two/latents"}
    assert packed(data) == packed(first_run[0])


def test_the_order_of_the_videos_changes_no_byte(videos: Path, first_run: tuple[Path, Report], tmp_path: Path) -> None:
    run(tmp_path, [videos / "two.mp4", videos / "one.mp4"])
    assert set(packed(tmp_path)) == {"index.json", "train-000000.tar", "validation-000000.tar"}
    assert packed(tmp_path) == packed(first_run[0])


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shots, of which the last is longer than two segments of a second."""
    shots = [(FACE, 20), (NO_FACE, 6), (FACE, 16), (NO_FACE, 4), (FACE, 64)]
    return write_talk(tmp_path_factory.mktemp("film") / "film.mp4", shots)


@pytest.fixture(scope="module")
def in_one_piece(film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The shards of the film, and what is reported of it."""
    data = tmp_path_factory.mktemp("piece")
    report = run(data, [film])
    return packed(data), told_of(report)


def told_of(report: Report) -> dict[str, Any]:
    """What a report says apart from times."""
    left_out = ("stages", "seconds_spent")
    return {name: value for name, value in vars(report).items() if name not in left_out}


def test_segments_give_the_same_bytes(
    film: Path, in_one_piece: tuple[dict[str, bytes], dict[str, Any]], tmp_path: Path
) -> None:
    """Clips are the same, also those in a shot that two joints are in, and nothing is left of the segments."""
    report = run(tmp_path, [film], segment=1)
    assert sorted(clip.frames for split in SPLITS for clip in Shards(tmp_path).clips(split)) == [16, 20, 64]
    assert packed(tmp_path) == in_one_piece[0]
    assert told_of(report) == in_one_piece[1]
    assert not list(tmp_path.glob("work/*/*segments"))
    before = results(tmp_path)
    run(tmp_path, [film])  # in one piece
    assert made_since(before, tmp_path) == set()


def test_people_alike_and_emotions_in_segments(film: Path, tmp_path: Path) -> None:
    changes = {"people": "likeness", "emotion": ModelFile.of(write_predictor(tmp_path / "emotion.pt"))}
    held = []
    for name, segment in (("piece", 300.0), ("segments", 1.0)):
        run(tmp_path / name, [film], segment=segment, **changes)
        looks = next((tmp_path / name).glob("work/*/looks/looks.npy")).read_bytes()
        held.append((packed(tmp_path / name), looks))
    assert held[0] == held[1]


def test_stopped_between_segments_it_goes_on(
    film: Path,
    in_one_piece: tuple[dict[str, bytes], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a segment has made stays: faces of some, latents of one of the three clips."""
    write_latents = encode.write_latents
    seen: list[tuple[int, int]] = []
    written: list[str] = []
    most = {"faces": 2, "latents": 1}

    def followed(reader: Any, grid: Any, detector: Any, segment: Any) -> Any:
        if len(seen) == most["faces"]:
            raise KeyboardInterrupt
        seen.append(segment)
        return follow(reader, grid, detector, segment)

    def wrote(vae: Any, pictures: Any, folder: Path, key: str) -> None:
        if len(written) == most["latents"]:
            raise KeyboardInterrupt
        written.append(key)
        write_latents(vae, pictures, folder, key)

    monkeypatch.setattr(finding, "follow", followed)
    monkeypatch.setattr(encode, "write_latents", wrote)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [film], segment=1)
    assert seen == [(0, 20), (20, 42)]
    most["faces"] = 6
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [film], segment=1)
    assert seen == [(0, 20), (20, 42), (42, 46), (46, 67), (67, 88), (88, 110)]
    most["latents"] = 3
    run(tmp_path, [film], segment=1)
    assert [key[-3:] for key in written] == ["000", "026", "046"]
    assert packed(tmp_path) == in_one_piece[0]
    assert "videos and segments: 100%" in capsys.readouterr().err


def test_a_segment_that_fails_is_one_video_that_failed(
    film: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = encode.write_crops

    def fail(reader: Any, faces: Any, start: int, *rest: Any) -> None:
        if start >= 26:
            raise ZeroDivisionError("in a library")
        crops(reader, faces, start, *rest)

    monkeypatch.setattr(encode, "write_crops", fail)
    report = job.prepare([film, videos], small_settings(tmp_path, segment=1), validation=0.5, max_failures=1)
    assert report.discarded[job.FAILED].videos == {
        "film.mp4": {"seconds": 4.4, "why": "the stage crops failed (ZeroDivisionError: in a library)"}
    }
    assert report.clips == 3


def test_a_second_run_makes_nothing(videos: Path, data: Path) -> None:
    before, shards = results(data), {path: path.stat() for path in data.glob("*.tar")}
    report = run(data, [videos])
    assert made_since(before, data) == set()
    assert {path: path.stat() for path in shards} == shards
    assert report.seconds_worked_on == 0
    assert report.clips == 3


def test_another_vae_makes_only_latents(videos: Path, data: Path, tmp_path: Path) -> None:
    before, old = results(data), packed(data)
    vae = write_tiny_models(tmp_path, seed=1)["vae"]
    run(data, [videos], vae=ModelFile.of(vae))
    assert made_since(before, data) == {"one/latents", "two/latents"}
    new = packed(data)
    assert sorted(new) == ["index.json", "train-000001.tar", "validation-000001.tar"]
    assert not set(new.values()) & set(old.values())
    assert json.loads(new["index.json"])["vae"] == {"origin": str(vae)}


def test_without_wavlm_only_hubert_is_heard(videos: Path, data: Path) -> None:
    before = results(data)
    run(data, [videos], wavlm=None)
    assert made_since(before, data) == {"one/speech", "two/speech"}
    shards = Shards(data)
    assert list(shards.info.encoders) == ["hubert"]
    assert not [clip for split in SPLITS for clip in shards.clips(split) if "wavlm.npy" in clip.members]
    with pytest.raises(KeySyncError, match=r"has no speech features of wavlm, only of hubert: .* again with --wavlm"):
        shards.channels("wavlm")


def test_another_limit_makes_only_what_it_changes(videos: Path, data: Path) -> None:
    before = results(data)
    run(data, [videos], least_quality=1e-6)
    assert made_since(before, data) == {"one/selection", "two/selection"}


def test_without_scorers(videos: Path, data: Path) -> None:
    before = results(data)
    run(data, [videos], quality="none", speaker="none")
    stages = ("labels", "selection")
    assert made_since(before, data) == {f"{video}/{stage}" for video in ("one", "two") for stage in stages}
    labels = (path for path in data.glob("work/one-*/labels/*.json") if path.name != "done.json")
    label = json.loads(next(labels).read_text())
    assert (label["sharpness"], label["speaker_score"]) == (None, None)


def test_a_shard_that_is_gone_is_written_again(videos: Path, data: Path) -> None:
    old = packed(data)
    (data / "train-000000.tar").unlink()
    (data / ".keysync-0123456789abcdef.part").touch()  # of a run that was killed
    run(data, [videos])
    new = packed(data)
    assert sorted(new) == ["index.json", "train-000000.tar", "validation-000000.tar"]
    assert all(new[name] == old[name] for name in new if name != "index.json")
    assert not list(data.glob(".keysync-*"))


def test_people_decide_the_split_and_a_new_video_rewrites_nothing(videos: Path, data: Path, tmp_path: Path) -> None:
    old = {path.name: path.stat().st_mtime_ns for path in data.glob("*.tar")}
    write_talk(tmp_path / "three.mp4", [(FACE, 20)])
    run(data, [videos, tmp_path / "three.mp4"])
    assert old.items() <= {path.name: path.stat().st_mtime_ns for path in data.glob("*.tar")}.items()
    assert len(packed(data)) == len(old) + 2
    (tmp_path / "list.txt").write_text(f"{videos / 'one.mp4'}\tanna\n{videos / 'two.mp4'}\tanna\nthree.mp4\tbea\n")
    run(data, [tmp_path / "list.txt"])
    held = {clip.key.split("-")[0]: split for split in SPLITS for clip in Shards(data).clips(split)}
    assert held["one"] == held["two"] != held["three"]
    assert json.loads((data / "people.json").read_text()).items() >= {"anna": held["one"], "bea": held["three"]}.items()


def test_refused_at_once(videos: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path / "data")
    for wrong, message in (
        (replace(settings, speaker="none.such:scorer"), "cannot load the speaker scorer none.such:scorer"),
        (replace(settings, vae=ModelFile(videos / "one.mp4", "x")), "one.mp4"),
        (replace(settings, device="nowhere"), "the device 'nowhere' is not available"),
        (replace(settings, data=videos / "one.mp4"), "one.mp4 \\("),
    ):
        with pytest.raises(KeySyncError, match=message):
            job.prepare([videos], wrong)
    with pytest.raises(KeySyncError, match="expected a number between 0 and 1"):
        job.prepare([videos], settings, validation=0)
    assert not list((tmp_path / "data").glob("work/*/*"))
