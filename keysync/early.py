"""The network begins while the face is still followed: it draws what is known of the clip, which is remembered.

Nothing is shown of it. The dub is drawn anew when the whole track is known; where its crops, speech and noise are those
of before, bit for bit, the network is not evaluated again. So a guess that was wrong costs time and never changes a
result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .dub import Dub, Heard, Settings
from .errors import KeySyncError
from .face.track import LONGEST_MISS, FaceChoice, FaceTrack, Tracker
from .following import Seen
from .media.source import FrameSource
from .media.speech import SpeechPart
from .report import Report
from .systems.renderer import Foresighted
from .timeline import Timeline, fit

# Frames at the end of what is known that the next ones may change: by a miss that is bridged, by smoothing.
UNSURE = LONGEST_MISS + 3
# Seconds between looks at how much is known, and frames between looks at what it is.
PATIENCE, OFTEN = 0.05, 50


@dataclass(frozen=True, eq=False)
class Early:
    """What is drawn early: a clip, its speech of so many seconds, what was heard of it, and how."""

    source: FrameSource
    speech: Callable[[float], SpeechPart]
    speech_seconds: float
    heard: Heard
    renderer: Foresighted
    settings: Settings
    choice: FaceChoice

    def draw(self, seen: Seen, seconds: dict[str, float], ended: Callable[[float], bool]) -> None:
        """Draws what is known, again and again as more is, until `ended(how many seconds it may wait)` or memory is
        used up. `seconds` gets what stages take; `ended` is called at each step too: it may raise to stop."""
        drawn, looked, more = 0, 0, True

        def look(_: int) -> None:
            ended(0.0)

        while more and not ended(PATIENCE):
            pts = np.asarray(seen.pts[:], dtype=np.int64)  # those of frames that the tracker has
            if len(pts) < looked + OFTEN:
                continue
            looked = len(pts)
            known = self._known(seen.tracker.so_far(len(pts)), pts)
            if known is None or len(known[1].source) <= drawn:
                continue
            track, timeline = known
            drawn, more = len(timeline.source), False
            report = _report(self, timeline, seconds)
            voice = self.speech(timeline.seconds)
            with self.renderer.early(lambda: ended(0.0)):
                dub = Dub(
                    self.source, pts, track, timeline, voice, self.renderer, self.settings, report, heard=self.heard
                )
                dub.draw_early(look)
                more = True

    def _known(self, tracker: Tracker, pts: NDArray[np.int64]) -> tuple[FaceTrack, Timeline] | None:
        """What is known of the track, and the part of the timeline that can be drawn with it; None for nothing."""
        timeline = expected(self.source, pts, self.speech_seconds, self.settings.sync_mode)
        if timeline is None or self.heard.samples != self.speech(timeline.seconds).samples:
            return None
        try:
            track = tracker.finish(self.choice)
        except KeySyncError:  # the chosen face may still come
            return None
        frames = min(self._frames(track), len(timeline.source))
        if not frames or (timeline.source[:frames] != np.arange(frames)).any():
            return None
        return track, replace(timeline, source=timeline.source[:frames], pts=timeline.pts[:frames])

    def _frames(self, track: FaceTrack) -> int:
        """Frames from the first on that can be drawn: of whole clips, and of the last one what later frames leave as it
        is."""
        frames, sure = 0, len(track.found) - UNSURE
        for start, stop in track.runs():
            if stop > sure:
                steady = self.renderer.steady(sure - start)
                return start + steady if steady else frames
            frames = stop
        return frames


def expected(source: FrameSource, pts: NDArray[np.int64], speech_seconds: float, sync_mode: str) -> Timeline | None:
    """The timeline of the result if the frames of the source, of which `pts` are known, go on evenly, as many as its
    header says; None where they are not even, or more."""
    steps, count = np.diff(pts), source.info.frame_count
    if len(steps) == 0 or (steps != steps[0]).any() or len(pts) > count:
        return None
    step = int(steps[0])
    return fit(int(pts[0]) + step * np.arange(count), step, source.info.time_base, speech_seconds, sync_mode)


def _report(early: Early, timeline: Timeline, seconds: dict[str, float]) -> Report:
    """A report that only collects what stages take."""
    info, frames = early.source.info, len(timeline.source)
    sizes = info.width, info.height, frames, frames
    return Report(
        early.source.name,
        "",
        *sizes,
        str(Fraction(info.rate)),
        0.0,
        early.settings.sync_mode,
        early.settings.seed,
        seconds_per_stage=seconds,
    )
