"""From frames to frames: what may change changes, all else keeps its bits, and the report says which is which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.demo import SPEECH, TALK_OCCLUDED
from keysync.dub import Dub, Settings, find_clips
from keysync.errors import KeySyncError
from keysync.face.crop import Crops, crop, crop_boxes
from keysync.face.masks import MASKS
from keysync.face.occlusion import AUTO, find_occluder
from keysync.face.paste import Place
from keysync.face.track import FaceChoice, FaceTrack, from_landmarks
from keysync.face.turn import rotation
from keysync.job import FaceSource, dub_file, survey
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.media.samples import Samples
from keysync.media.speech import Speech
from keysync.report import DUBBED, PASSED_THROUGH, Report
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.plan import Plan
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.renderer import Look, Renderer
from keysync.timeline import Timeline, fit

from .clips import (
    HEIGHT,
    WIDTH,
    CheapStages,
    Frame,
    Quiet,
    picture,
    read_frames,
    write_landmarks,
    write_speech,
    write_video,
)
from .media.test_audio import write_sound
from .synthetic_face import face_points

NOSE = 28
SAMPLING = Sampling(evaluations=10)
Points = NDArray[np.float32]


def face_at(frame: int) -> Points:
    """A face that wanders slowly."""
    return face_points((46 + 4 * np.sin(frame / 9), 36 + 2 * np.cos(frame / 7)), 30)


@dataclass
class Scene:
    """A video, its landmarks and speech in a folder."""

    folder: Path
    video: Path
    points: Sequence[Points | None]
    speech: Path

    def dub(self, models: Models, output: str = "out.mkv", occluder: Path | None = None, **settings: Any) -> Report:
        self.output = self.folder / output
        self.progress = Quiet()
        return dub_file(
            self.video,
            self.speech,
            self.output,
            models,
            replace(Settings(sampling=SAMPLING, sync_mode="silence"), **settings),
            FaceSource(landmarks=write_landmarks(self.folder / "face.json", self.points)),
            self.progress,
            occluder=occluder,
            lossless=self.output.suffix == ".mkv",
        )

    def source(self) -> list[Frame]:
        return read_frames(self.video)

    def result(self) -> list[Frame]:
        return read_frames(self.output)


def scene(
    folder: Path,
    frames: int = 20,
    *,
    missing: Sequence[int] = (),
    rate: Fraction = Fraction(25),
    pts: Sequence[int] | None = None,
    cut: int | None = None,
    seconds: float = 1.0,
) -> Scene:
    """`missing` frames show no face; `pts` are in milliseconds; at `cut` another shot begins."""
    pictures = [picture(n, int(cut is not None and n >= cut)) for n in range(frames)]
    time_base = Fraction(1, 1000) if pts else None
    video = write_video(folder / "in.mp4", pictures, rate=rate, pts=pts, time_base=time_base)
    points = [None if n in missing else face_at(n) for n in range(frames)]
    return Scene(folder, video, points, write_speech(folder / "speech.wav", seconds))


@pytest.fixture
def cheap(models: Models, monkeypatch: pytest.MonkeyPatch) -> CheapStages:
    return CheapStages().install(monkeypatch)


def assert_only_the_mouth_changed(source: Frame, result: Frame, points: Points) -> None:
    """The box mask in the frame, to a pixel of the crop: from the nose bridge down, as wide as the face."""
    changed = (source != result).any(-1)
    inside = np.zeros_like(changed)
    slack = 2  # a pixel of the crop is up to 1.25 of the frame, and points are cut to whole ones
    (left, _), (right, _) = points.min(0), points.max(0)
    top = points[NOSE, 1]
    inside[max(0, int(top) - slack) :, int(left) - slack : int(right) + slack + 1] = True
    assert not changed[~inside].any()
    heart = np.zeros_like(changed)
    heart[int(top) + 6 : int(points[8, 1]), int(left) + 5 : int(right) - 4] = True
    assert changed[heart].mean() > 0.9


# What may change


def test_only_the_mouth_changes_and_all_else_keeps_its_bits(models: Models, tmp_path: Path) -> None:
    """The one run here with the network itself."""
    clip = scene(tmp_path, 20, missing=[0, 1, 9, 19], seconds=0.8)
    report = clip.dub(models)
    source, result = clip.source(), clip.result()
    assert len(result) == 20
    for frame, points in enumerate(clip.points):
        if points is None:
            assert np.array_equal(source[frame], result[frame])
        else:
            assert_only_the_mouth_changed(source[frame], result[frame], points)
    fates = [(part.first, part.last, part.state, part.reason) for part in report.ranges]
    assert fates == [
        (0, 1, PASSED_THROUGH, "no face found"),
        (2, 8, DUBBED, "face found"),
        (9, 9, PASSED_THROUGH, "no face found"),
        (10, 18, DUBBED, "face found"),
        (19, 19, PASSED_THROUGH, "no face found"),
    ]
    assert (report.count(DUBBED), report.count(PASSED_THROUGH)) == (16, 4)
    assert report.network_evaluations == 2 * 2 * 30  # two clips, a batch and a window each
    assert clip.progress.parts["network evaluations"] == [report.network_evaluations] * 2
    assert clip.progress.parts["following the face"][1] == 20
    stages = {"face track", "speech", "crop", "encode", "keyframes", "interpolation", "decode", "paste", "write"}
    assert report.seconds_per_stage.keys() == stages


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("mask", ["box", "full", "mouth", "face", "jaw"])
def test_every_mask_keeps_what_lies_outside(mask: str, models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 6)
    clip.dub(models, mask=mask)
    for source, result, points in zip(clip.source(), clip.result(), clip.points, strict=True):
        changed = (source != result).any(-1)
        assert changed.any()
        assert points is not None
        top = points[2:15, 1].min() - 5 if mask == "face" else points[NOSE, 1] - 2
        assert not changed[: int(top)].any()


@pytest.mark.usefixtures("cheap")
def test_a_seed_means_one_result(models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 8)
    results = []
    for seed in (3, 3, 4):
        clip.dub(models, seed=seed)
        results.append(np.stack(clip.result()))
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_each_shot_has_noise_of_its_own(cheap: CheapStages, models: Models, tmp_path: Path) -> None:
    scene(tmp_path, frames=20, cut=10).dub(models, seed=7)
    assert len(cheap.noise) == 2 * 2  # of each shot a batch of keyframes, and a window
    likeness = torch.corrcoef(torch.stack(cheap.noise).flatten(1)).fill_diagonal_(0)
    assert likeness.abs().max() < 0.2


@pytest.mark.usefixtures("cheap")
def test_the_mask_is_the_one_that_the_models_were_trained_with(models: Models, tmp_path: Path) -> None:
    spec = replace(models.keyframe.spec, mask="mouth")
    trained = replace(models, keyframe=SimpleNamespace(spec=spec))
    frames = {}
    for name, used, mask in (("asked", models, "mouth"), ("trained", trained, None), ("box", models, None)):
        clip = scene(tmp_path, 3)
        report = clip.dub(used, mask=mask)
        frames[name] = np.stack(clip.result())
        assert report.mask == ("box" if name == "box" else "mouth")
    assert np.array_equal(frames["asked"], frames["trained"])
    assert not np.array_equal(frames["asked"], frames["box"])


def test_crops_are_as_close_as_the_models_were_trained_with(models: Models, tmp_path: Path) -> None:
    reader, track = VideoReader(scene(tmp_path, 3).video), track_of([True] * 3)
    pts = np.asarray(reader.timestamps())
    stages: dict[str, Any] = {
        name: SimpleNamespace(spec=replace(getattr(models, name).spec, crop_scale=1.3))
        for name in ("keyframe", "interpolation")
    }
    closer = replace(models, **stages)
    assert (dub_of(reader, pts, track, closer).crops.boxes == crop_boxes(track, 0, 3, 1.3)).all()
    assert (dub_of(reader, pts, track, models).crops.boxes == crop_boxes(track, 0, 3)).all()


def test_an_unknown_mask_is_an_error(models: Models, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="unknown mask 'beard': choose one of box, "):
        scene(tmp_path, 3).dub(models, mask="beard")
    assert not (tmp_path / "out.mkv").exists()


# Time


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    "pts",
    [
        None,
        [500 + 40 * n for n in range(20)],
        [0, 40, 70, 120, 160, 161, 240, 280, 330, 360, 400, 433, 480, 520, 599, 600, 640, 680, 700, 760],
    ],
    ids=["even", "late start", "variable"],
)
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_silence_keeps_count_size_and_timestamps(
    pts: list[int] | None, output: str, models: Models, tmp_path: Path
) -> None:
    clip = scene(tmp_path, 20, pts=pts, seconds=0.3)
    report = clip.dub(models, output)
    source, result = VideoReader(clip.video), VideoReader(clip.output)
    assert (result.info.width, result.info.height) == (WIDTH, HEIGHT)
    stamps, times = ([s * r.info.time_base for s in r.timestamps().tolist()] for r in (source, result))
    assert times == [stamp - stamps[0] for stamp in stamps]
    assert (report.frames, report.source_frames, report.count(DUBBED)) == (20, 20, 20)
    heard, seconds = read_speech(clip.output)
    assert seconds == pytest.approx(report.seconds, abs=0.1)
    assert heard[: int(0.25 * 16_000)].abs().max() > 0.1
    assert heard[int(0.4 * 16_000) : int(0.7 * 16_000)].abs().max() < 0.01


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    ("mode", "seconds", "frames"),
    [
        ("cut_off", 0.5, 13),
        ("cut_off", 2.0, 20),
        ("loop", 1.2, 30),
        ("bounce", 1.2, 30),
        ("bounce", 0.4, 10),
        ("remap", 1.2, 30),
        ("remap", 0.4, 10),
        ("silence", 2.0, 20),
    ],
)
def test_lengths_of_every_mode(mode: str, seconds: float, frames: int, models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 20, seconds=seconds, missing=[4])
    report = clip.dub(models, sync_mode=mode)
    timeline = fit(np.arange(20), 1, Fraction(1, 25), seconds, mode)
    result, source = clip.result(), clip.source()
    assert len(result) == report.frames == frames == len(timeline.source)
    for frame, shown in enumerate(timeline.source.tolist()):
        points = clip.points[shown]
        if points is None:
            assert np.array_equal(result[frame], source[shown])
        else:
            assert_only_the_mouth_changed(source[shown], result[frame], points)
    lengths = "the video lasts 0.80 s, the speech" in "".join(report.notes)
    assert lengths == (abs(seconds - 0.8) > 0.04)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("rate", [Fraction(25, 2), Fraction(60), Fraction(30000, 1001)])
def test_other_frame_rates(rate: Fraction, models: Models, tmp_path: Path) -> None:
    frames = 24
    clip = scene(tmp_path, frames, rate=rate, seconds=2.0)
    report = clip.dub(models)
    assert report.count(DUBBED) == len(clip.result()) == frames
    for source, result, points in zip(clip.source(), clip.result(), clip.points, strict=True):
        assert points is not None
        assert_only_the_mouth_changed(source, result, points)
    own = rate == Fraction(30000, 1001)
    network = frames if own else int((frames - 1) * 25 / rate + Fraction(1, 2)) + 1
    assert report.network_evaluations == Plan(network).evaluations(30, 30)
    assert clip.progress.parts["network evaluations"] == [report.network_evaluations] * 2
    assert any("the network works at 25" in note for note in report.notes) == (not own)


# Clips


def test_a_cut_makes_two_clips_with_an_identity_each(cheap: CheapStages, models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 20, cut=9)
    report = clip.dub(models)
    reader = VideoReader(clip.video)
    pts, track = survey(reader, FaceSource(landmarks=tmp_path / "face.json"))
    assert track.runs() == [(0, 9), (9, 20)]
    dub = dub_of(reader, pts, track, models)
    source = clip.source()
    assert len(cheap.identities) == 2
    for identity, first in zip(cheap.identities, (0, 9), strict=True):
        expected = models.vae.encode(crop(source[first], dub.crops.boxes[first], dub.crops.size)[None])[0]
        assert torch.allclose(identity, expected, atol=1e-4)
    assert [(part.first, part.last, part.state) for part in report.ranges] == [(0, 19, DUBBED)]


class Looker:
    """A renderer that looks at the whole clip before it draws as `models` do."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def __getattr__(self, name: str) -> Any:
        return getattr(self.models, name)

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Models:
        note(f"{len(list(looks))} frames")
        return self.models


def test_a_survey_shows_every_frame_and_can_be_stopped(cheap: CheapStages, models: Models, tmp_path: Path) -> None:
    reader = VideoReader(scene(tmp_path, 12).video)
    pts = reader.timestamps()
    track = track_of([True] * len(pts))
    timeline = fit(pts, 1, reader.info.time_base, len(pts) / 25, "silence")
    report = Report("in", "speech", WIDTH, HEIGHT, len(pts), len(pts), "25", 1.0, "silence", 0)
    looked: list[int] = []

    def look() -> None:
        looked.append(len(looked))
        if len(looked) > len(pts):
            raise KeyboardInterrupt

    rest = reader, pts, track, timeline, silence().lasting(1.0)
    dub = Dub(*rest, cast("Renderer", Looker(models)), Settings(), report, on_look=look)
    assert dub.renderer is models
    assert (len(looked), report.notes) == (len(pts), [f"{len(pts)} frames"])
    with pytest.raises(KeyboardInterrupt):
        Dub(*rest, cast("Renderer", Looker(models)), Settings(), report, on_look=look)


def silence() -> Speech:
    return Speech(Samples(), 1.0, (), silence)


def dub_of(reader: VideoReader, pts: NDArray[np.int64], track: FaceTrack, models: Models) -> Dub:
    timeline = fit(pts, 1, reader.info.time_base, len(pts) / 25, "silence")
    report = Report("in", "speech", WIDTH, HEIGHT, len(pts), len(pts), "25", 1.0, "silence", 0)
    return Dub(reader, pts, track, timeline, silence().lasting(1.0), models, Settings(), report)


def track_of(found: Sequence[bool], shots: Sequence[int] | None = None) -> FaceTrack:
    count = len(found)
    person = np.where(found, 0, -1)
    shot = np.asarray(shots if shots is not None else np.zeros(count), dtype=np.int64)
    points = np.stack([face_at(n) for n in range(count)])
    none = np.zeros(count, bool)
    size = HEIGHT, WIDTH
    return FaceTrack(points, np.ones(count, np.float32), person, shot, size, none, np.ones(count, int), none)


def ranges_of(track: FaceTrack, source: Sequence[int]) -> list[tuple[int, int]]:
    timeline = Timeline(np.asarray(source), np.arange(len(source)), Fraction(1, 25), len(source) / 25)
    return [(clip.start, clip.stop) for clip in find_clips(track, timeline)]


def test_clips_are_runs_of_the_result() -> None:
    track = track_of([True] * 4 + [False] * 2 + [True] * 4, [0] * 8 + [1] * 2)
    through = list(range(10))
    assert ranges_of(track, through) == [(0, 4), (6, 8), (8, 10)]
    assert ranges_of(track, through[:5]) == [(0, 4)]
    # There and back: the turn parts nothing.
    assert ranges_of(track, [*through, *through[-2::-1]]) == [(0, 4), (6, 8), (8, 11), (11, 13), (15, 19)]
    # From the start again: a jump is a new clip even where the same face is seen on both sides of it.
    whole = track_of([True] * 5)
    assert ranges_of(whole, [0, 1, 2, 3, 4] * 2 + [0, 1]) == [(0, 5), (5, 10), (10, 12)]
    assert ranges_of(whole, [0, 0, 1, 1, 2, 4]) == [(0, 6)]
    assert ranges_of(track_of([False] * 5), range(5)) == []


def test_a_pause_begins_a_new_clip() -> None:
    timeline = Timeline(np.arange(6), np.asarray([0, 40, 80, 60_000, 60_040, 62_000]), Fraction(1, 1000), 62.0)
    clips = find_clips(track_of([True] * 6), timeline)
    assert [(clip.start, clip.stop, len(clip.network.times)) for clip in clips] == [(0, 3, 3), (3, 5, 2), (5, 6, 1)]


@pytest.mark.parametrize("step", [40, 100], ids=["25 a second", "10 a second"])
def test_a_pause_of_a_minute_costs_no_more_than_a_cut(
    step: int, models: Models, cheap: CheapStages, tmp_path: Path
) -> None:
    """A recorder of the screen writes no frame while nothing moves; the network draws none that nobody sees."""
    pts = [step * n for n in range(10)]
    (tmp_path / "cut").mkdir()
    even = scene(tmp_path / "cut", 20, pts=[step * n for n in range(20)], cut=10).dub(models)
    cheap.identities.clear()
    paused = scene(tmp_path, 20, pts=[*pts, *(60_000 + stamp for stamp in pts)])
    report = paused.dub(models)
    assert report.network_evaluations == even.network_evaluations
    assert len(cheap.identities) == 2
    assert report.count(DUBBED) == 20
    assert report.seconds == pytest.approx(60 + 10 * step / 1000, abs=0.2)
    still = f"({60 - 9 * step / 1000:.2f} s from {9 * step / 1000:.2f} s on)"
    assert [note for note in report.notes if "stands still" in note] == [
        f"the video stands still 1 time for longer than 1 s {still}: the lips do not move there"
    ]


def test_network_frames_are_bounded_by_the_frames_shown() -> None:
    """Whatever the timestamps: at most a second of network frames for each."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        pts = np.cumsum(draw.choice([1, 40, 900, 1100, 30_000], 40))
        timeline = Timeline(np.arange(40), pts, Fraction(1, 1000), float(pts[-1]) / 1000)
        clips = find_clips(track_of([True] * 40), timeline)
        assert sum(len(clip.network.times) for clip in clips) <= 25 * 40


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
def test_a_grey_film_stays_grey(output: str, models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 6, seconds=0.3)
    write_video(clip.video, [np.repeat(frame[..., :1], 3, -1) for frame in map(picture, range(6))])
    assert clip.dub(models, output).count(DUBBED) == 6
    for source, frame in zip(clip.source(), clip.result(), strict=True):
        assert np.abs(source.astype(int) - frame).max() > 8  # it is dubbed
        assert (np.ptp(frame, -1) <= (0 if output == "out.mkv" else 2)).all()


@pytest.mark.usefixtures("cheap")
def test_another_face_than_the_chosen_one_is_said(models: Models, tmp_path: Path) -> None:
    """As when the second largest face is chosen and a shot shows only one."""
    clip = scene(tmp_path, 6)
    reader = VideoReader(clip.video)
    dub = dub_of(reader, reader.timestamps(), track_of([True] * 4 + [False] * 2), models)
    frames: list[Frame] = []
    dub.draw(lambda frame, stamp: frames.append(frame))
    assert [(part.first, part.last, part.reason) for part in dub.report.ranges] == [
        (0, 3, "face found"),
        (4, 5, "the chosen face is not visible"),
    ]
    assert np.array_equal(frames[5], clip.source()[5])


@pytest.mark.usefixtures("cheap")
def test_a_face_that_only_comes_after_the_speech_leaves_all_as_it_was(models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 20, missing=range(15), seconds=0.4)
    report = clip.dub(models, sync_mode="cut_off")
    assert (report.network_evaluations, report.count(PASSED_THROUGH), report.count(DUBBED)) == (0, 10, 0)
    assert np.array_equal(clip.source()[:10], clip.result())


def test_a_video_without_a_face_is_an_error(models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 4, missing=range(4))
    with pytest.raises(KeySyncError, match=r"no face was found in the 4 frames of .*in\.mp4: nothing to dub"):
        clip.dub(models)
    assert not clip.output.exists()


# A quiet mouth


@pytest.mark.usefixtures("cheap")
def test_the_mouth_is_quiet_in_pauses_only_where_it_is_asked_for(models: Models, tmp_path: Path) -> None:
    """The speech is a tone, then noise 40 dB below it: two kinds of noise, which are not heard."""
    clip = scene(tmp_path, 50, seconds=2.0)
    tone = 0.3 * np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000)

    def dubbed(seed: int, quiet_mouth: bool) -> tuple[list[str], list[Frame]]:
        noise = 0.003 * np.random.default_rng(seed).normal(size=16_000)
        write_sound(clip.speech, np.concatenate([tone, noise])[None].astype(np.float32), 16_000, "pcm_s16le")
        notes = clip.dub(models, quiet_mouth=quiet_mouth).notes
        return [note for note in notes if note.startswith("quiet mouth")], clip.result()

    notes, first = dubbed(0, True)
    assert notes == ["quiet mouth: the mouth is closed in the pauses of the speech: 1.08-2.00 s"]
    _, second = dubbed(1, True)
    assert np.array_equal(np.stack(first[40:]), np.stack(second[40:]))
    notes, first = dubbed(0, False)
    assert notes == []
    _, second = dubbed(1, False)
    assert not np.array_equal(np.stack(first[40:]), np.stack(second[40:]))


# Tilted heads


@pytest.mark.usefixtures("cheap")
def test_crops_are_turned_with_the_head_where_it_is_asked_for(models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 12)
    tilt = rotation(30.0)
    clip.points = [(points - points.mean(0)) @ tilt.T + points.mean(0) for points in map(face_at, range(12))]
    plain = clip.dub(models, "plain.mkv")
    upright = clip.result()
    report = clip.dub(models, "turned.mkv", align=True)
    assert [note for note in plain.notes if note.startswith("align")] == []
    assert [note for note in report.notes if note.startswith("align")] == [
        "align: the crops are turned with the head, by 30 degrees"
    ]
    assert report.count(DUBBED) == 12
    track = from_landmarks(clip.points, (HEIGHT, WIDTH))
    crops = Crops.of(track, models.needs.crop_size, models.needs.crop_scale, align=True)
    draw = MASKS[report.mask]
    for number, (source, result, other) in enumerate(zip(clip.source(), clip.result(), upright, strict=True)):
        place = Place.of(
            draw(crops.points(track.landmarks[number], number), crops.size), crops.boxes[number], track.size
        )
        inside = np.zeros(source.shape[:2], dtype=bool)
        inside[place.region] = place.mask.numpy() > 0
        assert np.array_equal(result[~inside], source[~inside])
        assert (result != source).any()
        assert not np.array_equal(result, other)


# Occluders


def write_occluder(path: Path, hidden: Sequence[NDArray[np.bool_]]) -> Path:
    return write_video(path, [np.repeat(mask[..., None] * np.uint8(255), 3, -1) for mask in hidden], lossless=True)


@pytest.mark.usefixtures("cheap")
def test_what_the_occluder_marks_keeps_its_bits(models: Models, tmp_path: Path) -> None:
    """Also where it is finer than a pixel of the crop."""
    clip = scene(tmp_path, 6)
    generator = np.random.default_rng(0)
    hidden = []
    for _ in range(6):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[:, 40:48] = True
        mask[generator.integers(0, HEIGHT, 80), generator.integers(0, WIDTH, 80)] = True
        hidden.append(mask)
    report = clip.dub(models, occluder=write_occluder(tmp_path / "occluder.mkv", hidden))
    assert report.count(DUBBED) == 6
    for source, result, mask in zip(clip.source(), clip.result(), hidden, strict=True):
        changed = (source != result).any(-1)
        assert changed.mean() > 0.05
        assert not changed[mask].any()


@pytest.mark.usefixtures("cheap")
def test_a_mouth_that_is_hidden_whole_is_passed_through_and_said(models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 6)
    hidden = [np.full((HEIGHT, WIDTH), frame in (2, 3)) for frame in range(6)]
    report = clip.dub(models, occluder=write_occluder(tmp_path / "occluder.mkv", hidden))
    assert [(part.first, part.last, part.state, part.reason) for part in report.ranges] == [
        (0, 1, DUBBED, "face found"),
        (2, 3, PASSED_THROUGH, "nothing to generate: the mask is empty, or the occluder hides all of it"),
        (4, 5, DUBBED, "face found"),
    ]
    source, result = clip.source(), clip.result()
    kept = [np.array_equal(*pair) for pair in zip(source, result, strict=True)]
    assert kept == [False, False, True, True, False, False]


@pytest.mark.usefixtures("cheap")
def test_what_covers_the_mouth_is_found_and_keeps_its_bits(models: Models, tmp_path: Path) -> None:
    """The example in which a hand passes before the mouth."""
    output, settings = tmp_path / "out.mkv", Settings(sampling=SAMPLING)
    report = dub_file(TALK_OCCLUDED, SPEECH, output, models, settings, FaceSource(), occluder=AUTO, lossless=True)
    (note,) = (note for note in report.notes if note.startswith("occluders: "))
    assert re.match(r"occluders: something covers the mouth in \d+ of 75 frames: ", note)
    assert "occluders" in report.seconds_per_stage
    source = VideoReader(TALK_OCCLUDED)
    pts, track = survey(source, FaceSource())
    found = find_occluder(source, pts, track)
    assert 10 < len(found.numbers) < 70
    covered = 0
    for number, (before, after) in enumerate(zip(read_frames(TALK_OCCLUDED), read_frames(output), strict=True)):
        changed, mask = (before != after).any(-1), found.mask(number)
        assert changed.any()
        assert not changed[mask].any()
        covered += int(mask.sum())
    assert covered > 10_000


@pytest.mark.parametrize(
    ("size", "frames", "message"),
    [
        ((64, 48), 4, "occluder.mkv is 64x48 but the video is 96x80: draw the masks at the video's size"),
        ((WIDTH, HEIGHT), 3, "occluder.mkv has 3 frames but the video has 4: give one mask for each frame"),
    ],
)
def test_an_occluder_of_another_video_is_an_error(
    size: tuple[int, int], frames: int, message: str, models: Models, tmp_path: Path
) -> None:
    clip = scene(tmp_path, 4)
    occluder = write_occluder(tmp_path / "occluder.mkv", [np.zeros(size[::-1], bool)] * frames)
    with pytest.raises(KeySyncError, match=message):
        clip.dub(models, occluder=occluder)
    assert not clip.output.exists()


def test_a_face_is_chosen_from_0_on() -> None:
    with pytest.raises(KeySyncError, match="face -1 does not exist: expected 0 for the largest"):
        FaceChoice(-1)


def test_a_head_on_its_side_passes_through_as_it_is(cheap: CheapStages, models: Models, tmp_path: Path) -> None:
    clip = scene(tmp_path, 6)
    track = replace(track_of([False] * 6), turned=np.ones(6, bool))
    output = tmp_path / "out.mkv"
    settings = Settings(sampling=SAMPLING, sync_mode="silence")
    report = dub_file(clip.video, clip.speech, output, models, settings, FaceSource(track=track), lossless=True)
    assert [(part.state, part.reason) for part in report.ranges] == [
        (PASSED_THROUGH, "the head is tilted by more than 50 or turned sideways by more than 65 degrees")
    ]
    assert all((before == after).all() for before, after in zip(clip.source(), read_frames(output), strict=True))
