"""One job: a video file and a speech file in, a dubbed file and its report out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dub import DEFAULT_MASK, Dub, Occluder, Settings
from .errors import KeySyncError
from .face.detectors import make_detector, read_landmarks_file
from .face.face import Frame
from .face.track import FaceChoice, FaceTrack, Tracker, no_face
from .media.audio import read_speech
from .media.reader import VideoReader
from .media.writer import VideoWriter, check_output
from .method import FRAME_BY_FRAME, SAMPLE_RATE
from .report import Report
from .speech.encoder import ONE_PASS, WINDOW
from .systems.renderer import Renderer
from .timeline import Timeline, fit


class Progress(Protocol):
    """Shows how far a job is."""

    def begin(self, what: str, total: int | None) -> None: ...

    def step(self, count: int = 1) -> None: ...

    def end(self) -> None: ...


class NoProgress:
    """Shows nothing."""

    def begin(self, what: str, total: int | None) -> None:
        pass

    def step(self, count: int = 1) -> None:
        pass

    def end(self) -> None:
        pass


@dataclass(frozen=True)
class FaceSource:
    """Where the landmarks come from, and whose face it is: a `track` needs nothing else, `landmarks` no detector.

    A detector runs on `device`, if it can run on one.
    """

    choice: FaceChoice = field(default_factory=FaceChoice)
    detector: str = "mediapipe"
    weights: Path | None = None
    landmarks: Path | None = None
    track: FaceTrack | None = None
    device: str = "cpu"


def dub_file(
    video: Path | VideoReader,
    audio: Path,
    output: Path,
    models: Renderer,
    settings: Settings,
    face: FaceSource,
    progress: Progress | None = None,
    *,
    occluder: Path | VideoReader | None = None,
    lossless: bool = False,
) -> Report:
    """Dubs `video` with `audio` into `output`; returns the report. A reader stands for its window of a file.

    Raises `KeySyncError` for anything a user can put right; then no file is left under the final name.
    """
    progress = progress or NoProgress()
    check_output(output, [_path(file) for file in (video, audio, occluder) if file], lossless=lossless)
    reader = _reader(video)
    waveform, audio_seconds = read_speech(audio)
    began = time.perf_counter()
    progress.begin("following the face", reader.info.frame_count)
    pts, track = survey(reader, face, progress)
    tracked = time.perf_counter() - began
    if not (track.found | track.turned).any():
        raise KeySyncError(f"{no_face(track)} of {reader.path}: nothing to dub; try another detector")
    timeline = fit(pts, reader.info.frame_duration, reader.info.time_base, audio_seconds, settings.sync_mode)
    report = Report(
        video=str(reader.path),
        speech=str(audio),
        width=reader.info.width,
        height=reader.info.height,
        frames=len(timeline.source),
        source_frames=len(pts),
        frame_rate=str(reader.info.rate),
        seconds=timeline.seconds,
        sync_mode=settings.sync_mode,
        mask=settings.mask or models.needs.mask or DEFAULT_MASK,
        seed=settings.seed,
        network_evaluations=0,
        models=dict(models.origins),
        notes=list(_notes(reader, audio_seconds, timeline, lossless, models, settings)),
    )
    report.seconds_per_stage["face track"] = round(tracked, 4)
    hidden = Occluder.open(_reader(occluder), reader.info.width, reader.info.height, len(pts)) if occluder else None
    dub = Dub(reader, pts, track, timeline, _fitted(waveform, timeline.seconds), models, settings, report, hidden)
    writer = VideoWriter(output, reader.info, lossless=lossless, audio=audio, seconds=timeline.seconds)
    progress.begin("network evaluations", dub.evaluations)
    with writer:
        for stamp, frame in dub.frames(progress.step):
            with report.clock("write"):
                writer.write(frame, stamp)
    progress.end()
    return report


def survey(reader: VideoReader, face: FaceSource, progress: Progress) -> tuple[NDArray[np.int64], FaceTrack]:
    """Decodes the video once: the timestamp of every frame, and the track of the chosen face."""
    if face.track is not None:
        return _check_track(reader, face.track), face.track
    tracker = Tracker(exact=face.landmarks is not None)
    if face.landmarks is not None:
        size = reader.info.height, reader.info.width
        given = read_landmarks_file(face.landmarks, size=size, frames=len(reader.timestamps()))
        return _survey(reader, tracker, lambda frame, number: tracker.add(frame, given.faces(number)), face, progress)
    with closing(make_detector(face.detector, face.weights, device=face.device)) as detector:
        return _survey(reader, tracker, lambda frame, _: tracker.follow(frame, detector), face, progress)


def _check_track(reader: VideoReader, track: FaceTrack) -> NDArray[np.int64]:
    """The timestamp of every frame. Raises `KeySyncError` where the track is of another video."""
    pts = reader.timestamps()
    size = reader.info.height, reader.info.width
    if (len(pts), size) != (len(track.found), track.size):
        raise KeySyncError(
            f"the face track covers {len(track.found)} frames of {track.size[1]}x{track.size[0]} but the video has "
            f"{len(pts)} of {size[1]}x{size[0]}: follow the face in this video's own frames"
        )
    return pts


def _path(video: Path | VideoReader) -> Path:
    return video.path if isinstance(video, VideoReader) else video


def _reader(video: Path | VideoReader) -> VideoReader:
    return video if isinstance(video, VideoReader) else VideoReader(video)


def _survey(
    reader: VideoReader, tracker: Tracker, add: Callable[[Frame, int], None], face: FaceSource, progress: Progress
) -> tuple[NDArray[np.int64], FaceTrack]:
    pts: list[int] = []
    for stamp, frame in reader.frames():
        add(frame, len(pts))
        pts.append(stamp)
        progress.step()
    return np.asarray(pts, dtype=np.int64), tracker.finish(face.choice)


def _fitted(waveform: Tensor, seconds: float) -> Tensor:
    """The speech that the result holds: cut, or padded with silence, to the result's length."""
    samples = round(seconds * SAMPLE_RATE)
    return torch.nn.functional.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def _notes(
    reader: VideoReader,
    audio_seconds: float,
    timeline: Timeline,
    lossless: bool,
    renderer: Renderer,
    settings: Settings,
) -> Iterator[str]:
    """What a person should know of this job, a line each."""
    trained = renderer.needs.mask
    if trained is not None and settings.mask not in (None, trained):
        yield f"the models were trained with the mask {trained} and work with the mask {settings.mask}"
    video_seconds = reader.info.duration_seconds
    if abs(audio_seconds - video_seconds) > 1 / 25:
        lengths = f"the video lasts {video_seconds:.2f} s, the speech {audio_seconds:.2f} s"
        yield f"{lengths}, the result {timeline.seconds:.2f} s"
    slowest, fastest = FRAME_BY_FRAME
    if not slowest <= round(float(timeline.rate), 2) <= fastest:
        yield f"{float(timeline.rate):.3g} frames a second: the network works at 25 and each frame takes the nearest"
    if reader.info.hdr or reader.info.bits > 8:
        yield f"the video has {reader.info.bits} bits a colour{' in HDR' if reader.info.hdr else ''}: the result has 8"
    if reader.info.path.suffix.lower() != ".mkv" and lossless:
        yield "the lossless result is Matroska, which keeps timestamps to the millisecond"
    if timeline.seconds * SAMPLE_RATE > ONE_PASS:
        yield (
            f"the speech is longer than {ONE_PASS // SAMPLE_RATE} s: its features come from windows of "
            f"{WINDOW // SAMPLE_RATE} s and differ by some percent from those of one pass"
        )
