"""Time: which source frame each frame of the result shows and when, and the times at which the network works.

Timestamps are whole numbers (pts) of a rational time base, so frame durations of any kind stay exact. The speech starts
with the first frame: seconds count from there, whatever timestamp a file begins with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .choice import Choice
from .errors import KeySyncError
from .method import FRAME_BY_FRAME, NETWORK_RATE

Integers = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of the result: `source` (n,) says which source frame each shows, `pts` (n,) when, in `time_base`.

    `seconds` is how long the result lasts; the audio is padded with silence or cut to it.
    """

    source: Integers
    pts: Integers
    time_base: Fraction
    seconds: float

    @property
    def times(self) -> Seconds:
        """When each frame is shown, in seconds since the first: (n,)."""
        ticks: Integers = self.pts - self.pts[0]
        return ticks * self.time_base.numerator / self.time_base.denominator

    @property
    def rate(self) -> Fraction:
        """Average frames a second; of a single frame, the network's."""
        if len(self.pts) == 1:
            return Fraction(NETWORK_RATE)
        return (len(self.pts) - 1) / (int(self.pts[-1] - self.pts[0]) * self.time_base)


@dataclass(frozen=True)
class _Clock:
    """In ticks: when each source frame is shown, since the first, and for how long; and how long the speech lasts."""

    starts: Integers
    durations: Integers
    speech: Fraction

    @property
    def video(self) -> int:
        return int(self.durations.sum())

    def before_speech_ends(self, starts: Integers) -> int:
        """How many of these frames are shown before the speech ends; at least one."""
        return max(1, int(np.searchsorted(starts, math.ceil(self.speech))))


# Which source frame each output frame shows, when (ticks since the first), and the length of the result in ticks.
_Fit = tuple[Integers, Integers, Fraction]


def bounce(clock: _Clock) -> _Fit:
    """Frames 0, 1, …, n-1, n-2, …, 1, 0, 1, …"""
    there = np.arange(len(clock.starts))
    return _repeat(clock, np.concatenate((there, there[-2:0:-1])))


def loop(clock: _Clock) -> _Fit:
    """Frames 0, 1, …, n-1, 0, 1, …"""
    return _repeat(clock, np.arange(len(clock.starts)))


def remap(clock: _Clock) -> _Fit:
    """Frames at the source's average frame rate, each the nearest of the stretched video."""
    n, video = len(clock.starts), clock.video
    count = max(1, math.ceil(clock.speech * n / video))
    starts = _integers((2 * j * video + n) // (2 * n) for j in range(count))
    # j * above / below is twice the stretched time of frame j: compared with twice the middles between source frames.
    above, below = 2 * video * video * clock.speech.denominator, n * clock.speech.numerator
    middles = (clock.starts[1:] + clock.starts[:-1]).tolist()
    source, shown = [], 0
    for j in range(count):
        while shown < n - 1 and j * above > middles[shown] * below:
            shown += 1
        source.append(shown)
    return _integers(source), starts, clock.speech


def cut_off(clock: _Clock) -> _Fit:
    """Frames shown before the speech ends."""
    count = clock.before_speech_ends(clock.starts)
    return np.arange(count), clock.starts[:count], min(clock.speech, Fraction(clock.video))


def silence(clock: _Clock) -> _Fit:
    """All frames at their own times."""
    return np.arange(len(clock.starts)), clock.starts, Fraction(clock.video)


SYNC_MODES: dict[str, Choice[[_Clock], _Fit]] = {
    "bounce": Choice(
        bounce,
        "plays the video forwards and backwards until the audio ends",
        "视频正放、倒放交替,直到音频结束",
    ),
    "loop": Choice(
        loop,
        "plays the video again from its start until the audio ends",
        "视频从头重播,直到音频结束",
    ),
    "remap": Choice(
        remap,
        "slows the video down or speeds it up to the length of the audio",
        "放慢或加快视频,使其与音频一样长",
    ),
    "cut_off": Choice(cut_off, "ends both when the shorter one ends", "较短者结束时,两者都结束"),
    "silence": Choice(
        silence,
        "keeps the length of the video and cuts the audio or adds silence to it",
        "保持视频的长度,音频被截断或补上静音",
    ),
}


def fit(pts: Integers, last_duration: int, time_base: Fraction, audio_seconds: float, sync_mode: str) -> Timeline:
    """Brings a video of timestamps `pts` (n,), its last frame shown for `last_duration` ticks, and a speech together.

    Raises `KeySyncError` for an unknown mode, a video without frames or whose timestamps do not rise, an empty speech.
    """
    if sync_mode not in SYNC_MODES:
        raise KeySyncError(f"no sync mode is called {sync_mode!r}: choose one of {', '.join(SYNC_MODES)}")
    if len(pts) == 0:
        raise KeySyncError("the video holds no frames: use a video with at least one")
    if not audio_seconds > 0:
        raise KeySyncError("the speech holds no samples: use an audio file with at least one")
    durations = np.diff(pts, append=pts[-1] + last_duration).astype(np.int64)
    if (durations < 1).any():
        frame = int(np.argmax(durations < 1))
        raise KeySyncError(
            f"frame {frame} of the video has no duration: its timestamps must increase; encode the video again"
        )
    # A length in samples is a fraction of a small denominator, and its float must not reach into one frame more.
    speech = Fraction(audio_seconds).limit_denominator(1_000_000) / time_base
    starts: Integers = pts.astype(np.int64) - int(pts[0])
    source, shown, length = SYNC_MODES[sync_mode](_Clock(starts, durations, speech))
    return Timeline(source, shown + int(pts[0]), time_base, float(length * time_base))


@dataclass(frozen=True, eq=False)
class NetworkTimeline:
    """The frames that the network generates for a clip, and how the clip's own frames take them.

    `times` (m,) seconds; `source` (m,) the clip's frame that gives network frame j its crop; `shown` (n,) the network
    frame that frame i of the clip shows.
    """

    times: Seconds
    source: Integers
    shown: Integers


def network_times(times: Seconds, rate: Fraction) -> NetworkTimeline:
    """Where the network works for a clip whose frames are shown at `times` (n,) seconds, `rate` a second on average.

    From 20 to 33 frames a second it generates the clip's own frames; else 25 a second from the first, each frame taking
    the nearest.
    """
    slowest, fastest = FRAME_BY_FRAME
    if slowest <= round(float(rate), 2) <= fastest:  # rounded: timestamps in milliseconds make 33 a bit more
        own = np.arange(len(times))
        return NetworkTimeline(times, own, own)
    # Rounded: float noise must not decide a tie one way here and the other there.
    shown = np.floor(np.round((times - times[0]) * NETWORK_RATE, 6) + 0.5).astype(np.int64)
    grid = times[0] + np.arange(shown[-1] + 1) / NETWORK_RATE
    middles = np.round((times[1:] + times[:-1]) / 2, 9)
    source = np.searchsorted(middles, np.round(grid, 9)).astype(np.int64)
    return NetworkTimeline(grid, source, shown)


def _repeat(clock: _Clock, period: Integers) -> _Fit:
    """Plays the frames of a period over and over, each for its own duration, until the speech ends."""
    times = math.ceil(clock.speech / int(clock.durations[period].sum()))
    source = np.tile(period, times)
    starts = np.concatenate(([0], np.cumsum(clock.durations[source])[:-1]))
    count = clock.before_speech_ends(starts)
    return source[:count], starts[:count], clock.speech


def _integers(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)
