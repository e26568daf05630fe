"""One job: a video file and a speech file in, a dubbed file and its report out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dub import Dub, Settings
from .errors import KeySyncError
from .landmarks import DETECTORS, read_landmarks_file
from .media import VideoReader, VideoWriter, read_speech
from .models import Models
from .report import Report
from .speech import SAMPLE_RATE
from .timeline import Timeline, fit
from .track import FaceChoice, FaceTrack, Tracker


class Progress(Protocol):
    """Who is told how far a job is."""

    def begin(self, what: str, total: int | None) -> None: ...

    def step(self, count: int = 1) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True)
class FaceSource:
    """Where the landmarks come from, and whose face it is."""

    choice: FaceChoice = field(default_factory=FaceChoice)
    detector: str = "mediapipe"
    weights: Path | None = None
    landmarks: Path | None = None


def dub_file(
    video: Path,
    audio: Path,
    output: Path,
    models: Models,
    settings: Settings,
    face: FaceSource,
    progress: Progress,
    *,
    occluder: Path | None = None,
    lossless: bool = False,
) -> Report:
    """Dubs `video` with `audio` into `output`; returns the report. Raises `KeySyncError` and leaves no half-written file."""
    reader = VideoReader(video)
    waveform, audio_seconds = read_speech(audio)
    began = Report.now()
    progress.begin("following the face", reader.info.frame_count)
    pts, track = survey(reader, face, progress)
    tracked = Report.now() - began
    if not track.found.any():
        raise KeySyncError(f"no face was found in the {len(pts)} frames of {video}: nothing to dub; try another --detector")
    timeline = fit(pts, _last_duration(reader, pts), reader.info.time_base, audio_seconds, settings.sync_mode)
    report = Report(
        video=str(video),
        speech=str(audio),
        width=reader.info.width,
        height=reader.info.height,
        frames=len(timeline.source),
        source_frames=len(pts),
        frame_rate=str(reader.info.rate),
        seconds=timeline.seconds,
        sync_mode=settings.sync_mode,
        mask=settings.mask,
        seed=settings.seed,
        network_evaluations=0,
        models=dict(models.origins),
        notes=list(_notes(reader, audio_seconds, timeline)),
    )
    report.seconds_per_stage["face track"] = tracked
    hidden = Occluder(occluder, reader, len(pts)) if occluder else None
    dub = Dub(reader, pts, track, timeline, _fitted(waveform, timeline.seconds), models, settings, report, hidden)
    writer = VideoWriter(output, like=reader.info, lossless=lossless, audio=audio, seconds=timeline.seconds)
    progress.begin("network evaluations", dub.evaluations)
    with writer, closing(dub.frames(progress.step)) as frames:
        for stamp, frame in frames:
            with report.clock("write"):
                writer.write(frame, stamp)
    progress.end()
    return report


def survey(reader: VideoReader, face: FaceSource, progress: Progress) -> tuple[NDArray[np.int64], FaceTrack]:
    """Decodes the video once: the timestamp of every frame, and the track of the chosen face."""
    pts: list[int] = []
    tracker = Tracker()
    given = read_landmarks_file(face.landmarks) if face.landmarks else None
    detector = None if given else make_detector(face.detector, face.weights)
    try:
        for stamp, frame in reader.frames():
            faces = detector.detect(frame) if detector else given.faces(len(pts))
            tracker.add(frame, faces)
            pts.append(stamp)
            progress.step()
    finally:
        if detector:
            detector.close()
    return np.asarray(pts, dtype=np.int64), tracker.finish(face.choice)


def _last_duration(reader: VideoReader, pts: NDArray[np.int64]) -> int:
    """How long the last frame is shown, in the video's time base: as long as its frames are on average."""
    return max(1, round(1 / (reader.info.rate * reader.info.time_base)))


def _fitted(waveform: Tensor, seconds: float) -> Tensor:
    """The speech that the result holds: cut, or padded with silence, to the result's length."""
    samples = round(seconds * SAMPLE_RATE)
    return torch.nn.functional.pad(waveform[:samples], (0, max(0, samples - len(waveform))))


def _notes(reader: VideoReader, audio_seconds: float, timeline: Timeline) -> Iterator[str]:
    """What a person should know of this job, a line each."""
    video_seconds = reader.info.duration_seconds
    if abs(audio_seconds - video_seconds) > 1 / 25:
        yield f"the video lasts {video_seconds:.2f} s, the speech {audio_seconds:.2f} s, the result {timeline.seconds:.2f} s"
    if not 20 <= timeline.rate <= 33:
        yield f"{float(timeline.rate):.3g} frames a second: the network works at 25 and each frame takes the nearest"
