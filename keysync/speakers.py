"""Several people dubbed in one video, each with their own speech or each in turn.

The faces are followed in one pass. Then the people are dubbed one after the other. The frames go from one dub to the
next without loss: where no one speaks they stay as in the source, bit for bit, until the result is encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .dub import Settings
from .errors import KeySyncError, concerning
from .face.face import Detector
from .face.occlusion import AUTO
from .face.track import Clues, FaceChoice, FaceTrack, Tracker
from .following import Seen
from .job import FaceSource, check_job, dub_file, follow_faces
from .media.audio import hear, open_sound
from .media.container import MediaFile
from .media.extras import Extras
from .media.mix import Gated, Mix, Parts
from .media.reader import open_video
from .media.source import Facts, Frame, FrameSource, SoundSource
from .method import SAMPLE_RATE
from .notes import LOSSLESS_NOTE
from .progress import FOLLOWING, Moment, NoProgress, Progress
from .report import DUBBED, PASSED_THROUGH, Report
from .resume import Work
from .speech.activity import pauses
from .systems.renderer import Renderer
from .timeline import Timeline, fit
from .who import clues_of, read_choice
from .whole import held, hidden_name

# Shorter pauses (seconds) belong to a voice, which begins and ends so much around what is heard.
PAUSE, AROUND = 0.5, 0.1
NO_ONE = "no one speaks"
SPEAKER = re.compile(r"(?P<sound>.+?)(?:@(?P<parts>[\d.,\s-]+))?:face=(?P<who>.+)", re.DOTALL)
PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class Speaker:
    """Who says what: the speech, the person, and the `parts` of the result in seconds; None: wherever it is heard.

    `who` names the person in messages. `clues` are those of the choice, where they are known already.
    """

    sound: str | Path | SoundSource
    choice: FaceChoice
    parts: tuple[tuple[float, float], ...] | None = None
    who: str = ""
    clues: Clues | None = None


def read_speaker(text: str) -> Speaker:
    """The speaker that a text such as `a.wav:face=1` or `a.wav@0-4.5,7-9:face=anna.png` means.

    Raises `KeySyncError` for another form.
    """
    match = SPEAKER.fullmatch(text)
    if match is None:
        raise KeySyncError(
            f"{text!r} is not a speaker: expected SOUND:face=WHO, such as a.wav:face=1 or a.wav@0-4.5:face=anna.png",
            about="speaker",
        )
    parts = None if match["parts"] is None else read_parts(match["parts"], text)
    return Speaker(Path(match["sound"]), read_choice(match["who"], kept=True), parts, match["who"])


def read_parts(text: str, whole: str = "") -> tuple[tuple[float, float], ...]:
    """The begin and end in seconds of each part that a text such as `0-4.5, 7-9` lists; messages show `whole`, by
    default the text. Raises `KeySyncError` for another form."""
    return tuple(_part(part, whole or text) for part in text.split(","))


def _part(text: str, whole: str) -> tuple[float, float]:
    match = PART.fullmatch(text)
    if match is None or float(match[1]) >= float(match[2]):
        raise KeySyncError(
            f"{text.strip()!r} in {whole!r} is not a part: expected START-STOP in seconds, such as 0-4.5",
            about="speaker",
        )
    return float(match[1]), float(match[2])


def heard_parts(voice: Tensor) -> tuple[tuple[float, float], ...]:
    """Where a voice (n,) at 16 kHz is heard: begin and end of each part in seconds."""
    seconds = len(voice) / SAMPLE_RATE
    silent = [(start, stop) for start, stop in pauses(voice) if stop - start >= PAUSE or start == 0 or stop == seconds]
    edges = [0.0, *(edge for span in silent for edge in span), seconds]
    heard = zip(edges[::2], edges[1::2], strict=True)
    return tuple((max(0.0, start - AROUND), stop + AROUND) for start, stop in heard if stop > start)


@dataclass(frozen=True, eq=False)
class _Part:
    """One dub: what is heard as the voice, the face in the source's frames, and how the report calls both."""

    sound: SoundSource
    track: FaceTrack
    parts: Parts | None
    speech: str
    who: str


def dub_speakers(
    video: str | Path | FrameSource,
    speakers: Sequence[Speaker],
    output: Path,
    models: Renderer,
    settings: Settings,
    face: FaceSource,
    progress: Progress | None = None,
    *,
    occluder: str | Path | FrameSource | None = None,
    lossless: bool = False,
    work: Work | None = None,
) -> Report:
    """Dubs each speaker's face with their own speech; the result has all speeches as one soundtrack.

    `face` says how faces are found; its choice is not used. What networks make is kept in `work`, as by `dub_file`, of
    all people until the last one is done. Raises `KeySyncError` like `dub_file`, and where two
    speakers are the same person.
    """
    _check(models, face)
    source, sounds = open_video(video), [open_sound(speaker.sound) for speaker in speakers]
    check_job(source, Mix(sounds), output, settings, occluder=occluder, lossless=lossless)
    heard = [hear(sound) for sound in sounds]

    def finish(tracker: Tracker, pts: NDArray[np.int64], detector: Detector) -> list[FaceTrack]:
        return [
            tracker.finish(one.choice, one.clues or clues_of(one.choice, source, pts, detector, face.sound))
            for one in speakers
        ]

    progress = progress or NoProgress()
    pts, tracks = follow_faces(source, face, finish, _Watch(progress), Seen(Tracker(looks=True)))
    _check_different(tracks, speakers)
    parts = []
    for speaker, sound, speech, track in zip(speakers, sounds, heard, tracks, strict=True):
        spans = speaker.parts if speaker.parts is not None else heard_parts(speech.samples)
        gated = sound if speaker.parts is None else Gated(sound, speaker.parts)
        parts.append(_Part(gated, track, spans, sound.name, speaker.who or "a face"))
    seconds = max(speech.seconds for speech in heard)
    return _dub_parts(source, pts, parts, seconds, output, models, settings, progress, occluder, lossless, work)


def dub_everyone(
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
    work: Work | None = None,
) -> Report:
    """Dubs everyone who speaks in the video with one speech, each while they speak in the video's own sound.

    What networks make is kept in `work`, as by `dub_speakers`. Raises `KeySyncError` like `dub_file`, and where no one
    speaks.
    """
    _check(models, face)
    source, sound = open_video(video), open_sound(audio)
    check_job(source, sound, output, settings, occluder=occluder, lossless=lossless)

    def finish(tracker: Tracker, pts: NDArray[np.int64], detector: Detector) -> list[FaceTrack]:
        return tracker.each_speaker(clues_of(FaceChoice(speaking=True), source, pts, detector, face.sound))

    progress = progress or NoProgress()
    pts, tracks = follow_faces(source, face, finish, _Watch(progress), Seen(Tracker(looks=True)))
    parts = [_Part(sound, track, None, sound.name, f"speaker {n}") for n, track in enumerate(tracks, 1)]
    seconds = hear(sound).seconds
    return _dub_parts(source, pts, parts, seconds, output, models, settings, progress, occluder, lossless, work)


def _check(models: Renderer, face: FaceSource) -> None:
    if not models.needs.source:
        raise KeySyncError("a talking head has one face: dub several people with another system", about="speaker")
    if face.track is not None or face.landmarks is not None:
        raise KeySyncError("landmarks are of one face: leave them out to dub several people", about="speaker")


def _check_different(tracks: Sequence[FaceTrack], speakers: Sequence[Speaker]) -> None:
    """Raises `KeySyncError` where two tracks follow the same face in most frames that they share."""
    for second in range(len(tracks)):
        for first in range(second):
            both = tracks[first].found & tracks[second].found
            same = both & (tracks[first].landmarks == tracks[second].landmarks).all((1, 2))
            if both.any() and same.sum() > both.sum() / 2:
                raise KeySyncError(
                    f"the speakers {first + 1} ({speakers[first].who}) and {second + 1} ({speakers[second].who}) are "
                    "the same person in the video: choose another face for one of them",
                    about="speaker",
                )


def _dub_parts(
    source: FrameSource,
    pts: NDArray[np.int64],
    parts: Sequence[_Part],
    seconds: float,
    output: Path,
    models: Renderer,
    settings: Settings,
    progress: Progress,
    occluder: str | Path | FrameSource | None,
    lossless: bool,
    work: Work | None,
) -> Report:
    """Dubs the parts one after the other; every dub but the last is a lossless file beside the result."""
    timeline = fit(pts, source.facts().last_duration, source.info.time_base, seconds, settings.sync_mode)
    active = [_active(part, timeline) for part in parts]
    tracks = [part.track.at(timeline.source).during(there) for part, there in zip(parts, active, strict=True)]
    seen = [number for number, track in enumerate(tracks) if (track.found | track.turned).any()]
    if not seen:
        raise KeySyncError(
            f"no speaker of {source.name} is visible while they speak: choose other faces", about="speaker"
        )
    masks = _masks(occluder, timeline)
    sounds = list(dict.fromkeys(part.sound for part in parts))
    shown: FrameSource = Shown(source, timeline)
    reports: dict[int, Report] = {}
    if work is not None:
        work.share(len(seen), [MediaFile.of(sound.path).fingerprint() for sound in sounds if sound.path])
    with ExitStack() as between:
        if work is not None:
            between.callback(work.close)
        for number in seen:
            last = number == seen[-1]
            voice = Gated(parts[number].sound, None, timeline.seconds)
            target = output if last else output.with_name(hidden_name("mkv"))
            reports[number] = dub_file(
                shown,
                Mix(sounds, voice),
                target,
                models,
                replace(
                    settings,
                    sync_mode="silence",
                    provenance=settings.provenance and last,
                    signing=settings.signing if last else None,
                ),
                FaceSource(track=tracks[number]),
                _Share(progress, seen.index(number), len(seen)),
                occluder=masks,
                lossless=lossless or not last,
                work=work,
            )
            if not last:
                shown = Shown(source, timeline, open_video(between.enter_context(held(target))))
    return _merged(reports, parts, active, timeline, settings)


def _active(part: _Part, timeline: Timeline) -> NDArray[np.bool_]:
    """The frames of the result in which a person speaks: (n,)."""
    times = timeline.times
    if part.parts is None:
        return np.ones(len(times), np.bool_)
    speaks = np.zeros(len(times), np.bool_)
    for start, stop in part.parts:
        speaks |= (times >= start) & (times < stop)
    return speaks


def _masks(occluder: str | Path | FrameSource | None, timeline: Timeline) -> str | FrameSource | None:
    """The occluder for the frames of the result, `AUTO` where it is found in them."""
    if occluder is None:
        return None
    if occluder == AUTO:
        return AUTO
    with concerning("occluder"):
        source = open_video(occluder)
        return source if len(source.timestamps()) == 1 else Shown(source, timeline)


def _merged(
    reports: dict[int, Report],
    parts: Sequence[_Part],
    active: Sequence[NDArray[np.bool_]],
    timeline: Timeline,
    settings: Settings,
) -> Report:
    """One report of all dubs: a frame is dubbed where one of them dubbed it."""
    merged = list(reports.values())[-1]
    outcomes = {number: _outcomes(report) for number, report in reports.items()}
    merged.ranges = []
    for frame, source in enumerate(timeline.source.tolist()):
        there = [outcomes[number][frame] for number in reports if active[number][frame]]
        dubbed = [outcome for outcome in there if outcome[0] == DUBBED]
        state, reason = (dubbed or there or [(PASSED_THROUGH, NO_ONE)])[0]
        merged.add(frame, source, state, reason)
    merged.sync_mode = settings.sync_mode
    merged.speech = " and ".join(dict.fromkeys(part.speech for part in parts))
    # The files in between are lossless: what the last report does not say of that, is not so of the result.
    absent = {LOSSLESS_NOTE} - set(merged.notes)
    merged.notes = list(
        dict.fromkeys(note for report in reports.values() for note in report.notes if note not in absent)
    )
    merged.network_evaluations = sum(report.network_evaluations for report in reports.values())
    merged.run_seconds = sum(report.run_seconds for report in reports.values())
    merged.curves = {
        f"{name}, {parts[number].who}": row for number, report in reports.items() for name, row in report.curves.items()
    }
    for number, part in enumerate(parts):
        report = reports.get(number)
        count = (
            0
            if report is None
            else report.count(DUBBED)
            if report is not merged
            else sum(state == DUBBED for state, _ in outcomes[number])
        )
        spans = None if part.parts is None else [[round(at, 2) for at in span] for span in part.parts]
        merged.speakers.append({"speech": part.speech, "face": part.who, "seconds": spans, "dubbed": count})
        if report is None:
            merged.notes.append(f"{part.who} is not visible while {part.speech} is heard: no frame is dubbed with it")
    return merged


def _outcomes(report: Report) -> list[tuple[str, str]]:
    """State and reason of each frame."""
    return [(part.state, part.reason) for part in report.ranges for _ in range(part.first, part.last + 1)]


class Shown:
    """The frames of a source as a timeline shows them; `drawn` are these frames, where they have been drawn on."""

    def __init__(self, source: FrameSource, timeline: Timeline, drawn: FrameSource | None = None) -> None:
        self._source, self._timeline, self._drawn = source, timeline, drawn
        self.name, self.path = source.name, source.path
        self.extras = source.extras if timeline.same_times else Extras()
        self._pts: NDArray[np.int64] = timeline.pts - timeline.pts[0]
        rate = source.info.rate if timeline.same_times else timeline.rate
        self.info = replace(
            source.info,
            time_base=timeline.time_base,
            rate=rate,
            duration_seconds=timeline.seconds,
            frame_count=len(self._pts),
        )

    def frames(self) -> Iterator[tuple[int, Frame]]:
        """See `FrameSource`."""
        yield from zip(self._pts.tolist(), self.pick(self._pts, range(len(self._pts))), strict=True)

    def timestamps(self) -> NDArray[np.int64]:
        """See `FrameSource`."""
        return self._pts

    def pick(self, pts: Sequence[int] | NDArray[np.int64], indices: Iterable[int]) -> Iterator[Frame]:
        """See `FrameSource`."""
        if self._drawn is not None:
            return self._drawn.pick(self._own_pts, indices)
        return self._source.pick(self._own_pts, self._timeline.source[list(indices)].tolist())

    @cached_property
    def _own_pts(self) -> NDArray[np.int64]:
        return (self._drawn or self._source).timestamps()

    def facts(self) -> Facts:
        """See `FrameSource`."""
        last = Fraction(self._timeline.seconds) / self._timeline.time_base - int(self._pts[-1])
        return replace(self._source.facts(), last_duration=max(1, round(last)))


class _Share:
    """The progress of one of several dubs."""

    def __init__(self, progress: Progress, number: int, count: int) -> None:
        self._progress, self._number, self._count = progress, number, count

    def show(self, moment: Moment) -> None:
        share = (self._number + moment.share) / self._count
        self._progress.show(replace(moment, share=share, seconds_left=None))

    def say(self, line: str) -> None:
        self._progress.say(f"speaker {self._number + 1} of {self._count}: {line}")


class _Watch:
    """Called after each frame of the survey: the progress may raise to stop."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._done = progress, 0

    def __call__(self) -> None:
        self._done += 1
        self._progress.show(Moment(FOLLOWING, FOLLOWING, self._done, None, 0.0, None))
