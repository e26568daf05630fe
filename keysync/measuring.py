"""A video measured: files or other sources in, curves and figures out. Frames are streamed and never held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .behind import ahead
from .costs import Costs
from .errors import KeySyncError, concerning
from .face.mesh import MeshReader
from .face.track import FaceTrack, no_face
from .job import FaceSource, survey
from .measure.change import ChangeMeter
from .measure.figures import Measured
from .measure.listening import listen
from .measure.mouths import MouthMeter, Mouths
from .measure.sound import Sound
from .media.audio import open_sound
from .media.reader import open_video
from .media.source import Frame, FrameSource, SoundSource
from .progress import FOLLOWING, Course, NoProgress, Progress

READING = "reading the mouth"
MEASURING = "measuring"
PHASES: dict[str, tuple[str, ...]] = {MEASURING: (FOLLOWING, READING)}
# The region that a dub may change where no one says which: the largest that leaves the background alone.
MASK = "box"

Stamps = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Original:
    """The source of dubs, as far as they are compared with it: `track` is that of the face, `mouths` are its own."""

    source: FrameSource
    track: FaceTrack
    mouths: Mouths


def measure_videos(
    videos: Sequence[str | Path | FrameSource],
    audio: str | Path | SoundSource | None,
    face: FaceSource,
    progress: Progress | None = None,
    *,
    source: str | Path | FrameSource | None = None,
    mask: str = MASK,
) -> list[Measured]:
    """Measures videos; each is compared with `audio`, by default with its own sound.

    With the `source` that they are dubs of, its face is the one that is looked at, and what changed beside it is
    measured too: they must show its frames in order, and may end earlier. Raises `KeySyncError` for a file that cannot
    be read, a video without sound where no `audio` is given or without a face, and for a source of another size.
    """
    opened = [open_video(video) for video in videos]
    with concerning("source"):
        original = None if source is None else open_video(source)
    if original is not None:
        for video in opened:
            _check_size(video, original)
    shared = None if audio is None else listen(open_sound(audio))
    sounds = [shared or listen(_own_sound(video)) for video in opened]
    course = Course(progress or NoProgress(), PHASES)
    _expect(course, opened, original, face)
    course.begin(MEASURING)
    reader = MeshReader(face.device)
    known = None if original is None else _read_original(original, face, reader, course)
    made = [_measure(*pair, face, reader, course, known, mask) for pair in zip(opened, sounds, strict=True)]
    course.end()
    return made


def measure_video(
    video: str | Path | FrameSource,
    audio: str | Path | SoundSource | None,
    face: FaceSource,
    progress: Progress | None = None,
    *,
    source: str | Path | FrameSource | None = None,
    mask: str = MASK,
) -> Measured:
    """Measures one video, as `measure_videos` does."""
    (measured,) = measure_videos([video], audio, face, progress, source=source, mask=mask)
    return measured


def _own_sound(video: FrameSource) -> SoundSource:
    if video.path is None or not video.info.has_audio:
        raise KeySyncError(f"{video.name} has no sound: name the sound that its mouth should follow", about="sound")
    return open_sound(video.path)


def _check_size(video: FrameSource, original: FrameSource) -> None:
    sizes = [(one.info.width, one.info.height) for one in (video, original)]
    if sizes[0] != sizes[1]:
        (w, h), (source_w, source_h) = sizes
        raise KeySyncError(
            f"{video.name} is {w}x{h} but {original.name}, its source, is {source_w}x{source_h}: compare videos of the "
            "same size, or leave out the source",
            about="source",
        )


def _expect(course: Course, videos: Sequence[FrameSource], original: FrameSource | None, face: FaceSource) -> None:
    """Says how many frames are followed and read."""
    followed = [*videos] if original is None else [original]
    read = [*videos] if original is None else [*videos, original]
    costs = Costs.of(videos[0].info, face.device, face.detector)
    for work, each, sources in ((FOLLOWING, costs.follow, followed), (READING, 2 * costs.look, read)):
        counts = [one.info.frame_count for one in sources]
        course.expect(work, None if None in counts else sum(count or 0 for count in counts), each)


def _read_original(original: FrameSource, face: FaceSource, reader: MeshReader, course: Course) -> Original:
    _, track = _follow(original, face, course)
    return Original(original, track, _read(original, track, reader, course))


def _read(video: FrameSource, track: FaceTrack, reader: MeshReader, course: Course) -> Mouths:
    meter = MouthMeter(track, reader)
    with closing(ahead(video.frames())) as frames:
        for _, frame in frames:
            meter.add(frame)
            course.step(READING)
    return meter.finish()


def _measure(
    video: FrameSource,
    sound: Sound,
    face: FaceSource,
    reader: MeshReader,
    course: Course,
    original: Original | None,
    mask: str,
) -> Measured:
    if original is None:
        pts, track = _follow(video, face, course)
        return Measured.of(video.name, _seconds(video, pts), _read(video, track, reader, course), sound)
    meter, change, stamps = MouthMeter(original.track, reader), ChangeMeter(original.track, mask), []
    for stamp, frame, before in _pairs(video, original.source):
        meter.add(frame)
        change.add(before, frame)
        stamps.append(stamp)
        course.step(READING)
    times = _seconds(video, np.asarray(stamps, np.int64))
    return Measured.of(video.name, times, meter.finish(), sound, original.mouths, change.finish())


def _follow(video: FrameSource, face: FaceSource, course: Course) -> tuple[Stamps, FaceTrack]:
    """Raises `KeySyncError` where the face is nowhere to be seen."""
    step: Callable[[], None] = partial(course.step, FOLLOWING)
    pts, track = survey(video, face, step)
    if not track.found.any():
        raise KeySyncError(f"{no_face(track)} of {video.name}: nothing to measure; try another detector")
    return pts, track


def _pairs(video: FrameSource, original: FrameSource) -> Iterator[tuple[int, Frame, Frame]]:
    """Yields (pts, frame, frame of the source). Raises `KeySyncError` where the source ends first."""
    with closing(ahead(video.frames())) as frames, closing(ahead(original.frames())) as others:
        for number, (one, other) in enumerate(zip_longest(frames, others)):
            if one is None:
                return
            if other is None:
                raise KeySyncError(
                    f"{video.name} goes on after the {number} frames of {original.name}, its source: compare dubs that "
                    "show each frame of the source once, or leave out the source",
                    about="source",
                )
            yield one[0], one[1], other[1]


def _seconds(video: FrameSource, pts: Stamps) -> NDArray[np.float64]:
    """When each frame is shown: (n,) since the first."""
    seconds: NDArray[np.float64] = (pts - pts[0]) * float(video.info.time_base)
    return seconds
