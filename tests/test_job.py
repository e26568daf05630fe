"""A job from files to a file: the face followed, the speech fitted, the report filled, nothing half-done left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import keysync.job
from keysync.dub import Settings
from keysync.errors import KeySyncError
from keysync.face.face import Face
from keysync.face.track import FaceChoice
from keysync.job import FaceSource, dub_file, survey
from keysync.media import audio
from keysync.media.audio import AudioReader, read_speech
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory, SoundInMemory
from keysync.media.speech import Speech
from keysync.progress import EVALUATIONS, Moment
from keysync.speech.features import SpeechFeatures
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.sampling import Sampling

from .clips import (
    HEIGHT,
    WIDTH,
    CheapStages,
    Quiet,
    picture,
    read_frames,
    write_landmarks,
    write_speech,
    write_video,
)
from .media.recordings import record
from .media.test_extras import with_subtitles
from .synthetic_face import face, face_points

SETTINGS = Settings(sampling=Sampling(evaluations=10))


class Files(TypedDict):
    """What `dub_file` reads and writes."""

    video: Path
    audio: Path
    output: Path


class Detector:
    """Finds one face, and a smaller one beside it from the fourth frame on; counts its frames."""

    def __init__(self) -> None:
        self.frames, self.closed = 0, False

    def detect(self, *_: object) -> list[Face]:
        self.frames += 1
        return [face((30, 36), 24)] + [face((72, 36), 16)] * (self.frames > 3)

    def close(self) -> None:
        self.closed = True


def same(parts: Iterable[NDArray[Any]]) -> bool:
    first, second = parts
    return np.array_equal(first, second)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    found = Detector()
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: found)
    return found


@pytest.fixture
def files(tmp_path: Path) -> Files:
    video = write_video(tmp_path / "in.mp4", [picture(n) for n in range(10)])
    return {"video": video, "audio": write_speech(tmp_path / "speech.wav", 0.4), "output": tmp_path / "out.mkv"}


def test_survey_follows_the_chosen_face(files: Files, detector: Detector) -> None:
    reader, followed = VideoReader(files["video"]), list[int]()
    pts, track = survey(reader, FaceSource(), lambda: followed.append(1))
    assert pts.tolist() == reader.timestamps().tolist()
    assert track.found.all()
    assert np.abs(track.landmarks[5] - face_points((30, 36), 24)).max() < 1e-3
    assert (detector.frames, detector.closed, len(followed)) == (10, True, 10)


def test_the_detector_is_made_as_the_source_says(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def make(*how: object, **where: object) -> Detector:
        made.append((how, where))
        return Detector()

    monkeypatch.setattr(keysync.job, "make_detector", make)
    for source in (
        FaceSource(),
        FaceSource(detector="face-alignment", weights=Path("weights"), device="cuda:1"),
    ):
        survey(VideoReader(files["video"]), source)
    default = FaceSource().detector
    assert made == [
        ((default, None), {"device": "cpu"}),
        (("face-alignment", Path("weights")), {"device": "cuda:1"}),
    ]


def test_the_second_face_is_another_one_where_it_is_not(
    files: Files, detector: Detector, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    CheapStages().install(monkeypatch)
    report = dub_file(**files, models=models, settings=SETTINGS, face=FaceSource(FaceChoice(1)), progress=Quiet())
    assert [(part.first, part.last, part.reason) for part in report.ranges] == [
        (0, 2, "the chosen face is not visible"),
        (3, 9, "face found"),
    ]


@pytest.mark.usefixtures("detector")
def test_a_face_that_no_shot_shows(files: Files, models: Models) -> None:
    with pytest.raises(KeySyncError, match="face 2 was chosen but no shot shows more than 2: choose 0 to 1"):
        dub_file(**files, models=models, settings=SETTINGS, face=FaceSource(FaceChoice(2)), progress=Quiet())


@pytest.mark.usefixtures("detector")
def test_the_report_tells_the_job(files: Files, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    CheapStages().install(monkeypatch)
    report = dub_file(**files, models=models, settings=SETTINGS, face=FaceSource(), progress=Quiet(), lossless=True)
    told = report.to_dict()
    assert (told["video"], told["speech"]) == (str(files["video"]), str(files["audio"]))
    assert (told["width"], told["height"], told["frame_rate"], told["seconds"]) == (WIDTH, HEIGHT, "25", 0.4)
    assert (told["frames"], told["source_frames"], told["sync_mode"], told["mask"]) == (10, 10, "cut_off", "box")
    assert told["models"] == models.origins
    assert told["network_evaluations"] == 60
    assert told["notes"] == ["the lossless result is Matroska, which keeps timestamps to the millisecond"]


@pytest.mark.usefixtures("detector")
def test_the_network_hears_the_speech_as_long_as_the_result(
    files: Files, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    CheapStages().install(monkeypatch)
    heard: list[Tensor] = []

    def watched(plain: Callable[[Tensor], SpeechFeatures], waveform: Tensor) -> SpeechFeatures:
        heard.append(waveform)
        return plain(waveform)

    for encoder in models.encoders.values():
        monkeypatch.setattr(encoder, "encode", partial(watched, encoder.encode))
    for seconds in (0.2, 1.0):
        write_speech(files["audio"], seconds)
        settings = Settings(sync_mode="silence", sampling=SETTINGS.sampling)
        report = dub_file(**files, models=models, settings=settings, face=FaceSource(), progress=Quiet())
        waveform, _ = read_speech(files["audio"])
        fitted = heard[-1]
        assert len(fitted) == 6400
        kept = min(6400, len(waveform))
        assert torch.equal(fitted[:kept], waveform[:kept])
        assert not fitted[kept:].any()
        assert report.notes == [f"the video lasts 0.40 s, the speech {seconds:.2f} s, the result 0.40 s"]


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("frames_in_header", [10, 9])
def test_speech_is_let_go_when_it_was_heard_and_read_again_where_too_little_of_it_was(
    frames_in_header: int, files: Files, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    CheapStages().install(monkeypatch)
    events: list[str] = []

    def noted(plain: Callable[..., Any], event: str, *given: Any) -> Any:
        events.append(event)
        return plain(*given)

    let_go = Speech.let_go
    monkeypatch.setattr(Speech, "let_go", lambda speech: noted(let_go, "let go", speech))
    monkeypatch.setattr(audio, "_heard", partial(noted, audio._heard, "read"))
    video = VideoReader(files["video"])
    video.info = replace(video.info, frame_count=frames_in_header)
    rest = models, SETTINGS, FaceSource(), Quiet()
    dub_file(video, files["audio"], files["output"], *rest, lossless=True)
    again = ["read"] if frames_in_header != 10 else []
    assert events == ["read", "let go", *again, "let go"]


@pytest.mark.usefixtures("detector")
def test_notes_of_frame_rate_and_container(
    files: Files, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    files["video"] = write_video(tmp_path / "fast.mp4", [picture(n) for n in range(20)], rate=Fraction(50))
    report = dub_file(**files, models=models, settings=SETTINGS, face=FaceSource(), progress=Quiet(), lossless=True)
    assert report.notes == [
        "50 frames a second: the network works at 25 and each frame takes the nearest",
        "the lossless result is Matroska, which keeps timestamps to the millisecond",
    ]


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("raised", [KeyboardInterrupt, KeySyncError, RuntimeError])
@pytest.mark.parametrize("stage", ["interpolation", "keyframe"])
def test_whatever_stops_the_network_the_older_file_stays(
    raised: type[BaseException], stage: str, files: Files, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = CheapStages()
    files["output"].write_text("older")

    def sample(running: Any, *rest: Any) -> Tensor:
        if running.spec.name == stage:
            raise raised("stopped")
        return cheap.sample(running, *rest)

    monkeypatch.setattr("keysync.systems.keysync.windows.sample", sample)
    before = sorted(files["output"].parent.iterdir())
    with pytest.raises(raised, match="stopped"):
        dub_file(**files, models=models, settings=SETTINGS, face=FaceSource(), progress=Quiet())
    assert sorted(files["output"].parent.iterdir()) == before
    assert files["output"].read_text() == "older"


def test_a_landmarks_file_takes_the_place_of_the_detector(
    files: Files, detector: Detector, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    points = [None, *([face_points((50, 36), 28)] * 9)]
    source = FaceSource(landmarks=write_landmarks(tmp_path / "face.json", points))
    report = dub_file(**files, models=models, settings=SETTINGS, face=source, progress=Quiet())
    assert [(part.first, part.last) for part in report.ranges] == [(0, 0), (1, 9)]
    assert detector.frames == 0


def test_a_track_of_before_needs_no_detector_and_must_be_of_this_video(
    files: Files, detector: Detector, tmp_path: Path
) -> None:
    pts, track = survey(VideoReader(files["video"]), FaceSource())
    seen = detector.frames
    again, same = survey(VideoReader(files["video"]), FaceSource(track=track))
    assert same is track
    assert np.array_equal(pts, again)
    assert detector.frames == seen
    other = write_video(tmp_path / "other.mp4", [picture(n) for n in range(4)])
    with pytest.raises(KeySyncError, match="covers 10 frames of 96x80 but the video has 4 of 96x80: follow the face"):
        survey(VideoReader(other), FaceSource(track=track))


@pytest.mark.usefixtures("detector")
def test_a_reader_stands_for_its_window_of_a_file(
    files: Files, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    masks = write_video(tmp_path / "masks.mkv", [np.full((HEIGHT, WIDTH, 3), 255, np.uint8)] * 10, lossless=True)
    window = {"start": 0.12, "duration": 0.2}
    report = dub_file(
        VideoReader(files["video"], **window),
        files["audio"],
        files["output"],
        models,
        SETTINGS,
        FaceSource(),
        Quiet(),
        occluder=VideoReader(masks, **window),
    )
    assert (report.source_frames, report.frames, report.video) == (5, 5, str(files["video"]))
    assert [part.state for part in report.ranges] == ["passed through"]
    with pytest.raises(KeySyncError, match="is also an input"):
        dub_file(VideoReader(files["video"]), files["audio"], files["video"], models, SETTINGS, FaceSource(), Quiet())


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize(
    ("suffix", "rate", "mode"),
    [
        ("mkv", Fraction(25), "cut_off"),
        ("mkv", Fraction(25), "bounce"),
        ("mp4", Fraction(24), "cut_off"),
        ("mp4", Fraction(30_000, 1001), "remap"),
        ("mp4", Fraction(12), "loop"),
        ("mp4", Fraction(50), "silence"),
    ],
)
def test_frames_and_sound_in_memory_are_dubbed_like_files_of_them(
    suffix: str, rate: Fraction, mode: str, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A lossless file, and at rates that Matroska's milliseconds cannot count, the decoded frames of an mp4."""
    CheapStages().install(monkeypatch)
    hidden = np.zeros((10, HEIGHT, WIDTH, 3), np.uint8)
    hidden[:, :, 30:40] = 255
    video = write_video(tmp_path / f"in.{suffix}", map(picture, range(10)), rate=rate, lossless=suffix == "mkv")
    speech = write_speech(tmp_path / "speech.wav", 0.7)
    images = torch.from_numpy(np.stack(read_frames(video))).float() / 255
    sound = AudioReader(speech)
    inputs: dict[str, tuple[Any, Any, Any]] = {
        "files": (video, speech, write_video(tmp_path / "hidden.mkv", hidden, lossless=True)),
        "memory": (
            FramesInMemory("the images", images, rate),
            SoundInMemory("the audio", np.concatenate(list(sound.blocks()), 1), sound.rate),
            FramesInMemory("the masks", hidden, rate),
        ),
    }
    settings = Settings(sync_mode=mode, sampling=SETTINGS.sampling)
    outputs, reports = [], []
    for name, (source, said, occluder) in inputs.items():
        outputs.append(tmp_path / f"{name}.mkv")
        rest = models, settings, FaceSource(), Quiet()
        reports.append(dub_file(source, said, outputs[-1], *rest, occluder=occluder, lossless=True))
    assert same(np.stack(read_frames(output)) for output in outputs)
    assert same(VideoReader(output).timestamps() for output in outputs)
    assert same(np.concatenate(list(AudioReader(output).blocks()), 1) for output in outputs)
    assert (reports[1].video, reports[1].speech) == ("the images", "the audio")
    assert reports[0].ranges == reports[1].ranges
    assert reports[1].count("dubbed") == reports[1].frames
    assert reports[0].seconds == pytest.approx(reports[1].seconds, abs=1e-9)


# What a file has beside its pictures, and what of it is lost


def changed(path: Path) -> Path:
    """Damages the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    return path


RECORDINGS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "fields of a size that cannot keep them": (
        lambda folder: record(folder / "a.mkv", codec="ffv1", pixels="yuv420p", fields="tff", height=46),
        "the video is interlaced and 46 rows high: the result is marked as progressive, so deinterlace the video first",
    ),
    "4:4:4": (
        lambda folder: record(folder / "a.mp4", pixels="yuv444p"),
        "the video has 4:4:4 colour: the result keeps it as 4:4:4, which some players cannot show",
    ),
    "4:2:2": (
        lambda folder: record(folder / "a.mp4", pixels="yuv422p"),
        "the video has 4:2:2 colour: the result has 4:2:0, a colour for four pixels",
    ),
    "HDR": (
        lambda folder: record(folder / "a.mkv", codec="ffv1", pixels="yuv420p10le", colours=(9, 9, 16)),
        "the video has 10 bits a colour (PQ, BT.2020): the result has 8, keeps these colours and lacks data for HDR "
        "displays",
    ),
    "a wide range of colours that is no HDR": (
        lambda folder: record(folder / "a.mkv", codec="ffv1", pixels="yuv420p10le", colours=(9, 9, 14)),
        "the video has 10 bits a colour (BT.2020): the result has 8",
    ),
    "HDR in 8 bits": (
        lambda folder: record(folder / "a.mp4", colours=(9, 9, 18)),
        "the video is HDR (HLG, BT.2020): the result keeps these colours and lacks data for HDR displays",
    ),
    "transparency": (
        lambda folder: record(folder / "a.mov", codec="qtrle", pixels="argb"),
        "the video has an alpha channel: the result has no transparency",
    ),
    "subtitles": (lambda folder: with_subtitles(folder / "a.mkv"), "the result is without subtitles (subrip)"),
    "damage": (
        lambda folder: changed(record(folder / "a.mkv", codec="ffv1", options={"level": "3", "g": "1"})),
        "the video is damaged: 1 frame could be decoded only in part, the first at 0.16 s",
    ),
    "a length that is not believed": (
        lambda folder: record(folder / "a.mp4", last=20 * 3600 * 1000),
        "the video's header gives it 72000.36 s but the last picture begins at 0.36 s: the header is not followed",
    ),
}


@pytest.mark.parametrize("kind", RECORDINGS)
def test_what_is_lost_is_noted(
    kind: str, models: Models, detector: Detector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    monkeypatch.setattr(detector, "detect", lambda *_: [face((32, 22), 24)])
    make, note = RECORDINGS[kind]
    speech = write_speech(tmp_path / "speech.wav", 0.4)
    report = dub_file(make(tmp_path), speech, tmp_path / "out.mp4", models, SETTINGS, FaceSource(), Quiet())
    assert report.count("dubbed") == 10
    assert note in report.notes


def test_an_ordinary_video_has_no_notes(
    models: Models, detector: Detector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    monkeypatch.setattr(detector, "detect", lambda *_: [face((32, 22), 24)])
    speech = write_speech(tmp_path / "speech.wav", 0.4)
    for name in ("a.mp4", "a.mkv", "a.mov"):
        video = record(tmp_path / name, sound=(0.0, 0.4))
        report = dub_file(video, speech, tmp_path / f"out-{name}", models, SETTINGS, FaceSource(), Quiet())
        assert report.notes == []


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize(("start", "words"), [(0.5, "after its first picture"), (-0.3, "before its first picture")])
def test_sound_beside_the_picture_of_its_file_is_noted(
    start: float, words: str, files: Files, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    speech = record(tmp_path / "speech.ts", [1000 + pts for pts in range(0, 400, 40)], sound=(1 + start, 1.0))
    report = dub_file(files["video"], speech, tmp_path / "out.mp4", models, SETTINGS, FaceSource(), Quiet())
    assert sum(words in note for note in report.notes) == 1


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("what", ["video", "audio"])
@pytest.mark.parametrize("when", [1, 30, 59])
def test_an_input_that_changes_during_the_job_leaves_no_result(
    what: str, when: int, files: Files, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    CheapStages().install(monkeypatch)
    path = files["video"] if what == "video" else files["audio"]

    class Meddling(Quiet):
        def show(self, moment: Moment) -> None:
            super().show(moment)
            if moment.work == EVALUATIONS and moment.done >= when:
                path.touch()

    with pytest.raises(KeySyncError, match=rf"{path.name} changed during the run"):
        dub_file(**files, models=models, settings=SETTINGS, face=FaceSource(), progress=Meddling())
    assert not files["output"].exists()
    assert sorted(entry.name for entry in files["output"].parent.iterdir()) == ["in.mp4", "speech.wav"]


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize(
    ("mode", "seconds"), [("cut_off", 2.0), ("silence", 2.0), ("loop", 2.5), ("bounce", 2.5), ("remap", 2.5)]
)
def test_the_last_picture_stands_as_long_as_the_file_says(
    mode: str, seconds: float, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten pictures, the last of them for 1.64 s, and 2.5 s of speech."""
    CheapStages().install(monkeypatch)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: OneFace())
    video = record(tmp_path / "in.mp4", last=1640)
    output = tmp_path / "out.mp4"
    settings = Settings(sync_mode=mode, sampling=SETTINGS.sampling)
    report = dub_file(
        video, write_speech(tmp_path / "speech.wav", 2.5), output, models, settings, FaceSource(), Quiet()
    )
    assert report.seconds == pytest.approx(seconds)
    assert VideoReader(output).seconds() == pytest.approx(seconds, abs=0.001)
    if mode == "loop":
        assert report.frames == 20  # all again from 2.0 s on


@pytest.mark.usefixtures("detector")
@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_result_begins_at_0(
    name: str, suffix: str, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    CheapStages().install(monkeypatch)
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: OneFace())
    video = record(tmp_path / name, [50_000_000 + 40 * n for n in range(10)], sound=(50_000.0, 0.4))
    output = tmp_path / f"out.{suffix}"
    report = dub_file(video, video, output, models, SETTINGS, FaceSource(), Quiet())
    assert report.seconds == pytest.approx(0.4, abs=0.1)
    with av.open(str(output)) as container:
        assert container.start_time == 0
        assert container.duration is not None
        assert container.duration < 600_000


class OneFace(Detector):
    """Finds a face that fits pictures of 64 x 48."""

    def detect(self, *_: object) -> list[Face]:
        return [face((32, 22), 24)]
