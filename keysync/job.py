"""One job: a video and a speech in, a dubbed file and its report out."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from traceback import format_exception
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .behind import ahead
from .cache import Cache
from .costs import Costs, in_gigabytes, memory
from .dub import NOTHING_HEARD, Dub, Heard, Occluder, Settings, surveyed
from .early import Early
from .errors import KeySyncError, concerning
from .face.detectors import make_detector, read_landmarks_file
from .face.face import Detector, Frame
from .face.occlusion import AUTO, FoundOccluder, find_occluder
from .face.track import FaceChoice, FaceTrack, Tracker, no_face
from .following import Following, Seen
from .media.audio import hear, open_sound
from .media.container import MediaFile, open_input
from .media.extras import Extras
from .media.info import PictureFormat
from .media.reader import open_video
from .media.soundtrack import soundtrack_notes
from .media.source import FramesInMemory, FrameSource, SoundSource
from .media.speech import Speech
from .media.writer import VideoWriter, check_output, check_space
from .memory import TRACK, ClipMemory, folder_stamp
from .method import NETWORK_RATE
from .notes import job_notes
from .progress import (
    DRAWING,
    EVALUATIONS,
    FOLLOWING,
    FRAMES,
    OCCLUDERS,
    SPEECH,
    SURVEY,
    Course,
    NoProgress,
    Progress,
    about,
)
from .provenance import Provenance
from .report import Report, timed
from .resume import Work, job_name
from .speech.spool import spooled
from .systems.renderer import Foresighted, FromFiles, Look, Needs, Renderer, Resumable, Surveyor
from .timeline import Timeline, fit, still
from .weights.published import in_words
from .who import clues_of

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceSource:
    """Where the landmarks come from, and which face to dub: a `track` needs nothing else, `landmarks` no detector.

    A detector that can runs on `device`. `sound` is that of the video, for a choice by voice; by default its file's.
    """

    choice: FaceChoice = field(default_factory=FaceChoice)
    detector: str = "mediapipe"
    weights: Path | None = None
    landmarks: Path | None = None
    track: FaceTrack | None = None
    device: str = "cpu"
    sound: SoundSource | None = None

    def causes(self) -> list[Any]:
        """What the track that a detector gives of a video depends on besides the video."""
        return [self.detector, folder_stamp(self.weights), *self.choice.causes(), self.device]


def dub_file(
    video: str | Path | FrameSource,
    audio: str | Path | SoundSource,
    output: Path,
    models: Renderer,
    settings: Settings,
    face: FaceSource,
    progress: Progress | None = None,
    *,
    occluder: str | Path | FrameSource | None = None,
    lossless: bool = False,
    cache: Cache | None = None,
    work: Work | None = None,
) -> Report:
    """Dubs `video` with `audio` into `output`; returns the report. Each input is a file or another source.

    Models that need no source make a talking head of the first frame: as long as the speech, at 25 frames per second,
    of the size of their crops. What a `cache` holds of the same video is not found out again. An `occluder` that is
    `AUTO` is found in the video.
    What networks make is kept in `work` until the result is whole: the same job goes on with it.

    Raises `KeySyncError` for anything a user can fix; then no file is left under the final name.
    """
    try:
        return _dub_file(
            video, audio, output, models, settings, face, progress or NoProgress(), occluder, lossless, cache, work
        )
    except BaseException as error:
        if work is not None:
            work.close()
        _let_go(error)
        del models  # this frame is in the traceback
        raise


def check_job(
    video: str | Path | FrameSource,
    audio: str | Path | SoundSource,
    output: Path,
    settings: Settings,
    *,
    occluder: str | Path | FrameSource | None = None,
    lossless: bool = False,
    needs_source: bool = True,
) -> None:
    """Raises `KeySyncError` for a job whose inputs cannot be opened or whose output cannot be written.

    It needs no models and follows no face: a job that cannot end well ends here.
    """
    source, speech = open_video(video), open_sound(audio)
    with concerning("occluder"):
        masks = _masks(occluder)
    inputs = (source.path, speech.path, masks.path if masks else None)
    check_output(output, [path for path in inputs if path], lossless=lossless)
    if settings.signing is not None:
        if not settings.provenance:
            raise KeySyncError(
                "a signed result says how it was made: leave provenance on, or do not sign", about="c2pa"
            )
        settings.signing.check(output)
    if needs_source:
        shown = source.info.duration_seconds
        said = _speech_seconds(speech) or shown
        lasts = {"silence": shown, "cut_off": min(shown, said)}.get(settings.sync_mode, said)
        size = source.path.stat().st_size / shown * lasts if source.path and shown > 0 else None
        check_space(output, source.info, lasts, size, lossless=lossless)


@dataclass(frozen=True)
class _Inputs:
    """What a job reads. `files` must not change meanwhile; `finds`: what covers the mouth is found in the source."""

    source: FrameSource
    speech: SoundSource
    masks: FrameSource | None
    finds: bool
    heard: Speech
    files: list[MediaFile]


def _dub_file(
    video: str | Path | FrameSource,
    audio: str | Path | SoundSource,
    output: Path,
    models: Renderer,
    settings: Settings,
    face: FaceSource,
    progress: Progress,
    occluder: str | Path | FrameSource | None,
    lossless: bool,
    cache: Cache | None,
    work: Work | None,
) -> Report:
    began, needs = time.perf_counter(), models.needs
    check_job(video, audio, output, settings, occluder=occluder, lossless=lossless, needs_source=needs.source)
    inputs = _open(video, audio, occluder, needs)
    source, heard = inputs.source, inputs.heard
    course = Course(progress)
    costs = Costs.of(source.info, face.device, face.detector if face.landmarks is None else None)
    _expect(course, costs, source, models, settings, face, heard.seconds)
    known = ClipMemory(cache, source)
    seconds: dict[str, float] = {}
    if cache is None and isinstance(models, Foresighted) and models.beside:
        models = models.remembering()
    finds = inputs.finds
    models = _continuing(models, work, inputs.files, finds, settings, progress)
    pts, track, early = _follow(inputs, models, settings, face, known, course, seconds)
    timeline, form = _result_of(needs, source, pts, heard.seconds, settings.sync_mode)
    report = Report(
        video=source.name,
        speech=inputs.speech.name,
        width=form.width,
        height=form.height,
        frames=len(timeline.source),
        source_frames=len(pts),
        frame_rate=str(form.rate),
        seconds=timeline.seconds,
        sync_mode=settings.sync_mode,
        seed=settings.seed,
        seconds_per_stage=seconds,
    )
    dub = _prepare(inputs, pts, track, timeline, models, settings, report, known, course, costs, early)
    del early  # the rows of a long speech are large
    writer = _writer(inputs, output, form, dub, lossless)
    _hear(dub, course, costs)
    files = inputs.files
    del inputs, heard  # of a long film the waveform is large
    dub.renderer = _continuing(dub.renderer, work, files, finds, settings, progress)
    _say_how_long(dub, form, lossless, course, progress, work)
    with known.encodings(dub.renderer, dub.crops) as dub.renderer:
        _draw(dub, writer, files, course)
    if work is not None and (work.is_open or work.problem):
        report.work = work.to_dict()
        work.close(finished=True)
    course.end()
    report.run_seconds = time.perf_counter() - began
    report.notes.extend(dub.overflow_notes())
    return report


def _continuing(
    models: Renderer, work: Work | None, files: list[MediaFile], finds: bool, settings: Settings, progress: Progress
) -> Renderer:
    """The renderer that goes on with the work of a run before, where there can be any."""
    if work is None or not isinstance(models, Resumable):
        return models
    if work.is_open:
        return models.continuing(work)
    causes = models.work_causes(settings.sampling_of(models.system))
    if causes is None:
        return models
    inputs = [file.fingerprint() for file in files] + [AUTO] * finds
    work.open(job_name(causes, inputs, settings.seed, settings.mask, settings.sync_mode, settings.align))
    if work.found:
        progress.say(f"resuming: {work.found} results of an earlier run are in {work.path}")
    return models.continuing(work) if work.is_open else models


def _open(
    video: str | Path | FrameSource,
    audio: str | Path | SoundSource,
    occluder: str | Path | FrameSource | None,
    needs: Needs,
) -> _Inputs:
    if not needs.source and occluder is not None:
        raise KeySyncError(
            "a talking head is not pasted into a video: an occluder has no effect; leave it out", about="occluder"
        )
    source, speech = open_video(video), open_sound(audio)
    if not needs.source:
        source = _first_frame(source)
    masks = _masks(occluder)
    paths = [path for path in (source.path, speech.path, masks.path if masks else None) if path]
    files = [MediaFile.of(path) for path in paths]
    return _Inputs(source, speech, masks, occluder == AUTO, hear(speech), files)


def _masks(occluder: str | Path | FrameSource | None) -> FrameSource | None:
    """The masks that are given, opened; None where there are none or they are to be found."""
    return None if occluder is None or occluder == AUTO else open_video(occluder)


def _follow(
    inputs: _Inputs,
    models: Renderer,
    settings: Settings,
    face: FaceSource,
    known: ClipMemory,
    course: Course,
    seconds: dict[str, float],
) -> tuple[NDArray[np.int64], FaceTrack, Heard]:
    """The timestamps, the track of the chosen face, and what was heard of the speech while a thread followed the face;
    `seconds` gets how long stages took.

    Raises `KeySyncError` where the face is nowhere to be seen.
    """
    course.begin(FOLLOWING)
    source, seen, early = inputs.source, seen_for(face.choice), NOTHING_HEARD
    detects = face.track is None and face.landmarks is None

    def follow(on_frame: Callable[[], None]) -> tuple[NDArray[np.int64], FaceTrack]:
        began = time.perf_counter()
        found = partial(survey, source, face, on_frame, seen)
        result = known.follow(face.causes(), found) if detects else found()
        if TRACK not in known.hits:
            seconds["face track"] = time.perf_counter() - began
        return result

    with Following(follow, partial(course.step, FOLLOWING)) as following:
        if not following.ended():  # else the track was known, or there is an error
            early = _hear_early(inputs, models, settings, seconds)
            if len(early.rows) == len(models.needs.encoders) and not settings.quiet_mouth:
                inputs.heard.let_go()  # of a long film large, and hardly needed again
            free = inputs.masks is None and not inputs.finds
            sure = detects and free and not face.choice.through_cuts  # who it is shows at the end
            if sure and isinstance(models, Foresighted) and models.remembers:
                voice = inputs.heard.lasting
                drawn = Early(source, voice, inputs.heard.seconds, early, models, settings, face.choice)
                drawn.draw(seen, seconds, following.ended)
        pts, track = following.result()
    if not (track.found | track.turned).any():
        raise KeySyncError(f"{no_face(track)} of {source.name}: nothing to dub; try another detector")
    return pts, track, early


def _hear_early(inputs: _Inputs, models: Renderer, settings: Settings, seconds: dict[str, float]) -> Heard:
    """What each encoder makes of the speech that the result has if the header of the video tells its length.

    Encoders work here, in the thread of the caller: those of a host program may work in no other.
    """
    info, said = inputs.source.info, inputs.heard
    if not info.frame_count or not models.needs.source:
        return NOTHING_HEARD
    timeline = fit(np.arange(info.frame_count), 1, 1 / info.rate, said.seconds, settings.sync_mode)
    voice = said.lasting(timeline.seconds)
    rows = []
    for name in models.needs.encoders:
        # What it cannot hear may not be a part of the result: it hears that again.
        with timed(seconds, "speech"), suppress(KeySyncError):
            rows.append((models.encoders[name], spooled(models.encoders[name].encode(voice.read()))))
    return Heard(voice.samples, rows)


def _prepare(
    inputs: _Inputs,
    pts: NDArray[np.int64],
    track: FaceTrack,
    timeline: Timeline,
    models: Renderer,
    settings: Settings,
    report: Report,
    known: ClipMemory,
    course: Course,
    costs: Costs,
    early: Heard,
) -> Dub:
    """The dub, after a survey of the source where the models make one."""
    source, masks = inputs.source, inputs.masks
    if inputs.finds and track.found.any():
        masks = _found(source, pts, track, report, course, costs)
    with concerning("occluder"):
        hidden = Occluder.open(masks, source.info.width, source.info.height, len(pts)) if masks else None
    if isinstance(models, Surveyor):
        course.expect(SURVEY, len(surveyed(track)), costs.look)
        course.begin(SURVEY)

    def looked(surveyor: Surveyor, looks: Iterator[Look], note: Callable[[str], None], mask: str) -> Renderer:
        return known.survey(surveyor, looks, note, mask, settings.align, track, masks)

    voice = inputs.heard.lasting(timeline.seconds)
    on_look = partial(course.step, SURVEY)
    return Dub(source, pts, track, timeline, voice, models, settings, report, hidden, on_look, looked, early)


def _found(
    source: FrameSource, pts: NDArray[np.int64], track: FaceTrack, report: Report, course: Course, costs: Costs
) -> FoundOccluder:
    """What covers the mouth in the source; the report says in which frames."""
    course.expect(OCCLUDERS, int(track.found.sum()), costs.occluder)
    course.begin(OCCLUDERS)
    with report.clock("occluders"):
        found = find_occluder(source, pts, track, partial(course.step, OCCLUDERS))
    report.notes.extend(found.notes())
    return found


def _writer(inputs: _Inputs, output: Path, form: PictureFormat, dub: Dub, lossless: bool) -> VideoWriter:
    """What writes the result; the report says what it keeps of the source, and its mark."""
    drawn, settings, report, timeline = dub.renderer, dub.settings, dub.report, dub.timeline
    source, speech, heard = inputs.source, inputs.speech, inputs.heard
    extras = source.extras if drawn.needs.source else Extras()
    kept = extras.fit(output, timeline.seconds, timeline.same_times)
    files = drawn.files if isinstance(drawn, FromFiles) else {}
    synthetic = "lips" if drawn.needs.source else "picture"
    provenance = Provenance.of(drawn.system, drawn.origins, files, synthetic) if settings.provenance else None
    report.provenance = None if provenance is None else provenance.to_dict()
    report.notes += [
        *job_notes(source, dub.pts, speech, heard.seconds, timeline, lossless, drawn, settings, dub.crops, kept),
        *heard.notes,
        *soundtrack_notes(speech, lossless),
    ]
    return VideoWriter(
        output,
        form,
        lossless=lossless,
        audio=speech,
        seconds=timeline.seconds,
        kept=kept,
        provenance=provenance,
        signing=settings.signing,
    )


def _hear(dub: Dub, course: Course, costs: Costs) -> None:
    """Runs the speech encoders; now it is known how much is to be drawn."""
    drawn = dub.renderer
    course.expect(SPEECH, dub.unheard, costs.hearing(drawn, dub.timeline.seconds))
    course.expect(EVALUATIONS, dub.evaluations, costs.evaluation(drawn))
    course.expect(FRAMES, len(dub.timeline.source), costs.made(drawn))
    course.begin(SPEECH)
    dub.listen(partial(course.step, SPEECH))


def _say_how_long(
    dub: Dub, form: PictureFormat, lossless: bool, course: Course, progress: Progress, work: Work | None
) -> None:
    """Says about how long the rest takes, and how much memory and disk; the report says it too."""
    course.begin(DRAWING)
    left, boxes = course.seconds_left, np.flatnonzero(dub.track.found)
    sizes = {dub.crops.size_of(number) for number in boxes.tolist()}
    most = memory(dub.renderer, form, max(sizes, default=(0, 0)), dub.sampling, lossless)
    disk = _disk(dub, work)
    dub.report.estimate = {"seconds": None if left is None else round(left, 1), "memory": most, "disk": disk}
    words = [f"{dub.evaluations} network evaluations to run"]
    words += [] if left is None else [about(left)]
    words += [] if most is None else [f"{in_gigabytes(most)} of memory"]
    words += [f"up to {in_words(max(disk, 10**6))} of disk for unfinished work"] if disk else []
    progress.say(", ".join(words))


def _disk(dub: Dub, work: Work | None) -> int:
    """Bytes of unfinished work that are kept at most."""
    renderer = dub.renderer
    if work is None or not isinstance(renderer, Resumable):
        return 0
    if work.is_open:
        work.expect(sum(renderer.bytes_to_keep(len(clip.network.times)) for clip in dub.clips))
    if work.problem:
        dub.report.notes.append(f"{work.problem}: unfinished work is not kept, a run that is killed starts anew")
        return 0
    return work.limit


def _draw(dub: Dub, writer: VideoWriter, files: list[MediaFile], course: Course) -> None:
    """Draws and writes all frames. Raises `KeySyncError` where a file has changed meanwhile."""
    first = int(dub.timeline.pts[0])  # the result begins at 0

    def write(frame: Frame, stamp: int) -> None:
        writer.write(frame, stamp - first)

    with writer:
        dub.draw(write, partial(course.step, EVALUATIONS), partial(course.step, FRAMES))
        for file in files:
            file.check_unchanged()


def _expect(
    course: Course,
    costs: Costs,
    source: FrameSource,
    models: Renderer,
    settings: Settings,
    face: FaceSource,
    speech_seconds: float,
) -> None:
    """What is to be done, by what is known before the video is read: its header, and the length of the speech."""
    info, needs = source.info, models.needs
    frames = info.frame_count or round(info.duration_seconds * info.rate)
    shown = frames / float(info.rate) if needs.source else speech_seconds
    seconds = {"silence": shown, "cut_off": min(shown, speech_seconds)}.get(settings.sync_mode, speech_seconds)
    made = round(seconds * float(info.rate)) if frames and needs.source else round(seconds * NETWORK_RATE)
    evaluations = models.evaluations(max(1, made), settings.sampling_of(models.system))
    course.expect(FOLLOWING, frames or None, costs.follow if face.track is None else 0.0)
    if isinstance(models, Surveyor):
        course.expect(SURVEY, frames, costs.look)
    course.expect(SPEECH, len(needs.encoders), costs.hearing(models, seconds))
    # One that looks at the face first counts none before.
    course.expect(EVALUATIONS, max(evaluations, made), costs.evaluation(models))
    course.expect(FRAMES, made, costs.made(models))


def _result_of(
    needs: Needs, source: FrameSource, pts: NDArray[np.int64], seconds: float, sync_mode: str
) -> tuple[Timeline, PictureFormat]:
    """The timeline and the format of the result: those of the source, or of a talking head."""
    if needs.source:
        return fit(pts, source.facts().last_duration, source.info.time_base, seconds, sync_mode), source.info
    timeline = still(seconds)
    height, width = needs.crop_size
    return timeline, PictureFormat(width, height, timeline.time_base, timeline.rate)


def _let_go(error: BaseException) -> None:
    """Takes the traceback from an exception and from its causes: its frames would hold the models for as long as the
    exception lives. Where it shows a defect, the lines of the traceback stay as a note."""
    if not isinstance(error, KeySyncError | KeyboardInterrupt):
        lines = "".join(format_exception(error))
        if sys.version_info >= (3, 11):
            error.add_note(lines)
        else:
            log.error("%s", lines)
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            pending += [one.__cause__, one.__context__]
            one.__traceback__ = None


def _speech_seconds(speech: SoundSource) -> float | None:
    """How long a sound lasts: by the header of its file, None where that does not say."""
    if speech.path is None:
        samples: int = sum(block.shape[1] for block in speech.blocks())
        return samples / speech.rate
    with open_input(speech.path) as container:
        duration: int | None = container.duration
    return None if duration is None else duration / 1e6  # libav counts microseconds


def survey(
    source: FrameSource,
    face: FaceSource,
    on_frame: Callable[[], None] = lambda: None,
    seen: Seen | None = None,
) -> tuple[NDArray[np.int64], FaceTrack]:
    """Reads the video once: the timestamp of every frame, and the track of the chosen face.

    `on_frame` is called after each frame: it may raise to stop. What a detector finds is in `seen` meanwhile.
    """
    if face.track is not None:
        return _check_track(source, face.track), face.track
    if face.landmarks is not None:
        tracker = Tracker(exact=True)
        size = source.info.height, source.info.width
        given = read_landmarks_file(face.landmarks, size=size, frames=len(source.timestamps()))
        pts = _collect(source, Seen(tracker), lambda frame, number: tracker.add(frame, given.faces(number)), on_frame)
        return pts, tracker.finish()

    def finish(tracker: Tracker, pts: NDArray[np.int64], detector: Detector) -> FaceTrack:
        return tracker.finish(face.choice, clues_of(face.choice, source, pts, detector, face.sound))

    return follow_faces(source, face, finish, on_frame, seen or seen_for(face.choice))


def follow_faces(
    source: FrameSource,
    face: FaceSource,
    finish: Callable[[Tracker, NDArray[np.int64], Detector], T],
    on_frame: Callable[[], None],
    seen: Seen,
) -> tuple[NDArray[np.int64], T]:
    """The timestamp of every frame, and what `finish` makes of the tracker that has seen all frames."""
    with closing(make_detector(face.detector, face.weights, device=face.device)) as detector:
        pts = _collect(source, seen, lambda frame, _: seen.tracker.follow(frame, detector), on_frame)
        return pts, finish(seen.tracker, pts, detector)


def seen_for(choice: FaceChoice) -> Seen:
    """What is seen before the first frame, for this choice."""
    return Seen(Tracker(looks=choice.through_cuts))


def _first_frame(source: FrameSource) -> FrameSource:
    """The first frame alone. Raises `KeySyncError` where there is none."""
    first = next(source.frames(), None)
    if first is None:
        raise KeySyncError(f"{source.name} holds no frames: give a picture or a video with at least one")
    return FramesInMemory(source.name, first[1][None], Fraction(NETWORK_RATE))


def _check_track(source: FrameSource, track: FaceTrack) -> NDArray[np.int64]:
    """The timestamp of every frame. Raises `KeySyncError` for the track of another video."""
    pts = source.timestamps()
    size = source.info.height, source.info.width
    if (len(pts), size) != (len(track.found), track.size):
        raise KeySyncError(
            f"the face track covers {len(track.found)} frames of {track.size[1]}x{track.size[0]} but the video has "
            f"{len(pts)} of {size[1]}x{size[0]}: follow the face in this video's own frames"
        )
    return pts


def _collect(
    source: FrameSource, seen: Seen, add: Callable[[Frame, int], None], on_frame: Callable[[], None]
) -> NDArray[np.int64]:
    """Adds all frames with their numbers; returns their timestamps."""
    with closing(ahead(source.frames())) as frames:
        for stamp, frame in frames:
            add(frame, len(seen.pts))
            seen.pts.append(stamp)
            on_frame()
    return np.asarray(seen.pts, dtype=np.int64)
