"""Timelines: which source frame each output frame shows and when, and the times of the network's frames.

Timestamps (pts) are integers in a rational time base, so frame durations stay exact. The speech starts with the first
frame: seconds count from there, independent of the file's first timestamp.
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

# A picture that is shown for longer than this many seconds is a pause: the network starts anew behind it instead of
# generating 25 frames a second that are not shown. Starting anew costs at most as many evaluations as one second does.
PAUSE = 1.0

Integers = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of the result: frame i shows source frame `source[i]` at `pts[i]`, in `time_base`; both are (n,).

    `seconds` is the duration of the result; the audio is padded with silence or cut to it. `same_times`: each source
    frame that is shown is shown at its own time.
    """

    source: Integers
    pts: Integers
    time_base: Fraction
    seconds: float
    same_times: bool = False

    @property
    def times(self) -> Seconds:
        """The display time of each frame in seconds since the first: (n,)."""
        ticks: Integers = self.pts - self.pts[0]
        return ticks * self.time_base.numerator / self.time_base.denominator

    @property
    def rate(self) -> Fraction:
        """Average frames per second; the network's rate for a single frame."""
        if len(self.pts) == 1:
            return Fraction(NETWORK_RATE)
        return (len(self.pts) - 1) / (int(self.pts[-1] - self.pts[0]) * self.time_base)

    @property
    def pauses(self) -> Integers:
        """The frames that follow a picture which is shown for longer than `PAUSE`."""
        return np.flatnonzero(np.diff(self.pts) > float(PAUSE / self.time_base)) + 1

    @property
    def moving_rate(self) -> Fraction:
        """Average frames per second between the pauses."""
        steps = np.diff(self.pts)
        moving = steps[steps <= float(PAUSE / self.time_base)]
        return Fraction(len(moving)) / (int(moving.sum()) * self.time_base) if len(moving) else self.rate


@dataclass(frozen=True)
class _Clock:
    """In ticks: start (since the first frame) and duration of each source frame, and duration of the speech."""

    starts: Integers
    durations: Integers
    speech: Fraction

    @property
    def video(self) -> int:
        return int(self.durations.sum())

    def before_speech_ends(self, starts: Integers) -> int:
        """The number of these frames that start before the speech ends; at least one."""
        return max(1, int(np.searchsorted(starts, math.ceil(self.speech))))


# The source frame of each output frame, its start (ticks since the first), and the duration of the result in ticks.
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
    # j * above / below is twice the stretched time of frame j, compared with twice the midpoints of source frames.
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
    """Fits a video with timestamps `pts` (n,), whose last frame lasts `last_duration` ticks, to speech.

    Raises `KeySyncError` for an unknown mode, a video without frames or with timestamps that do not increase, and empty
    speech.
    """
    if sync_mode not in SYNC_MODES:
        raise KeySyncError(f"unknown sync mode {sync_mode!r}: choose one of {', '.join(SYNC_MODES)}")
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
    # The exact length is a fraction with a small denominator; the rounding error of its float must not add a frame.
    speech = Fraction(audio_seconds).limit_denominator(1_000_000) / time_base
    starts: Integers = pts.astype(np.int64) - int(pts[0])
    source, shown, length = SYNC_MODES[sync_mode](_Clock(starts, durations, speech))
    same = bool((source == np.arange(len(source))).all() and (shown == starts[source]).all())
    return Timeline(source, shown + int(pts[0]), time_base, float(length * time_base), same)


def still(audio_seconds: float) -> Timeline:
    """The timeline of one picture for as long as the speech lasts, at the network's rate."""
    count = max(1, math.ceil(round(audio_seconds * NETWORK_RATE, 6)))
    frames = np.arange(count)
    return Timeline(np.zeros_like(frames), frames, Fraction(1, NETWORK_RATE), audio_seconds)


@dataclass(frozen=True, eq=False)
class NetworkTimeline:
    """The frames that the network generates for a clip, and the one that each frame of the clip shows.

    `times` (m,) in seconds; `source` (m,): the frame of the clip that network frame j is cropped from; `shown` (n,):
    the network frame that frame i of the clip shows.
    """

    times: Seconds
    source: Integers
    shown: Integers


def network_times(times: Seconds, rate: Fraction) -> NetworkTimeline:
    """The network's frames for a clip whose frames are shown at `times` (n,) seconds, `rate` per second on average.

    At 20 to 33 frames per second the network generates every frame of the clip. At other rates it generates 25 frames
    per second from the first one on, and each frame of the clip shows the nearest.
    """
    slowest, fastest = FRAME_BY_FRAME
    if slowest <= round(float(rate), 2) <= fastest:  # rounded: with timestamps in milliseconds, 33 is slightly more
        own = np.arange(len(times))
        return NetworkTimeline(times, own, own)
    # Rounded: rounding errors must not break ties inconsistently.
    shown = np.floor(np.round((times - times[0]) * NETWORK_RATE, 6) + 0.5).astype(np.int64)
    grid = times[0] + np.arange(shown[-1] + 1) / NETWORK_RATE
    middles = np.round((times[1:] + times[:-1]) / 2, 9)
    source = np.searchsorted(middles, np.round(grid, 9)).astype(np.int64)
    return NetworkTimeline(grid, source, shown)


def _repeat(clock: _Clock, period: Integers) -> _Fit:
    """Repeats the frames of a period, each with its own duration, until the speech ends."""
    times = math.ceil(clock.speech / int(clock.durations[period].sum()))
    source = np.tile(period, times)
    starts = np.concatenate(([0], np.cumsum(clock.durations[source])[:-1]))
    count = clock.before_speech_ends(starts)
    return source[:count], starts[:count], clock.speech


def _integers(values: Iterable[int]) -> Integers:
    return np.fromiter(values, dtype=np.int64)
