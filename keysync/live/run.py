"""A live dub from its source to its sink, and how late each frame was."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..behind import ahead
from ..errors import KeySyncError
from ..media.source import Frame
from ..report import DUBBED
from .live import Live, LiveFrame

if TYPE_CHECKING:
    from .inputs import LiveVideo
    from .sinks import Passing, Sink

# Seconds of frames that are read ahead of a live source: while a batch is drawn, a camera goes on.
READ_AHEAD = 2.0


@dataclass
class Delays:
    """What became of the frames that went out: how many there were, how many were dubbed, why others were not, and how
    many seconds after it had come each went out; memory holds 8 bytes a frame. `missing` are those that a live source
    left out, by its timestamps and its `rate`."""

    frames: int = 0
    dubbed: int = 0
    missing: int = 0
    rate: float = 0.0
    others: dict[str, int] = field(default_factory=dict)
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def add(self, frame: LiveFrame, seconds: float) -> None:
        """Counts a frame."""
        self.frames += 1
        self.seconds.append(seconds)
        if frame.state == DUBBED:
            self.dubbed += 1
        else:
            self.others[frame.reason] = self.others.get(frame.reason, 0) + 1

    def lines(self) -> list[str]:
        """What a person should know, a line each."""
        told = [f"{self.frames} frames, {self.dubbed} dubbed, {self.frames - self.dubbed} passed through"]
        if self.missing:
            told.append(f"the source sent {self.missing} frames fewer than {self.rate:g} a second")
        told += [f"{count} frames unchanged: {reason}" for reason, count in self.others.items()]
        if self.seconds:
            median, most, largest = np.percentile(np.frombuffer(self.seconds), (50, 95, 100)).tolist()
            told.append(f"latency: median {median:.2f} s, 95 % within {most:.2f} s, largest {largest:.2f} s")
        return told


def run_live(
    video: LiveVideo,
    sound: Passing,
    live: Live,
    sink: Sink,
    *,
    limit: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
    on_frame: Callable[[LiveFrame], None] = lambda frame: None,
    clock: Callable[[], float] = time.monotonic,
) -> Delays:
    """Dubs all frames of a source; its sound is written as long as they last. How late the frames were.

    A batch whose first frame has waited for more than `limit` seconds passes through, so that the next ones are in
    time; None waits instead, however long. Once `stopped`, no more frames are taken, and those that are held pass
    through. Raises `KeySyncError` for a source without frames.
    """
    delays, waiting = Delays(rate=float(video.form.rate)), deque[tuple[int, float]]()
    base, said, last = video.form.time_base, 0, Fraction(0)
    heard = iter(sound.heard)
    count = max(1, round(READ_AHEAD * video.form.rate)) if video.is_live else 1

    def put(made: Iterable[LiveFrame]) -> None:
        for frame in made:
            pts, came = waiting.popleft()
            sink.write(frame.picture, pts)
            delays.add(frame, clock() - came)
            on_frame(frame)

    def draw(*, all_late: bool = False) -> None:
        while live.has_frames and (live.ready or all_late):
            late = all_late or (limit is not None and clock() - waiting[0][1] > limit)
            put(live.take(draw=not late))

    with sink:
        with closing(ahead(_stamped(video, clock), waiting=count)) as frames:
            for came, pts, frame in frames:
                if stopped():
                    break
                if video.is_live and last:
                    delays.missing += max(0, round((pts * base - last) * video.form.rate))
                last = pts * base + 1 / video.form.rate
                while said < last * sound.rate and (block := next(heard, None)) is not None:
                    live.add_sound(block, sound.rate)
                    said += block.shape[1]
                if said < last * sound.rate:
                    live.end_sound()
                live.add_frame(frame, float(pts * base))
                waiting.append((pts, came))
                draw()
        if not delays.frames and not waiting:
            raise KeySyncError("the video has no frame: expected at least one")
        live.end_frames()
        live.end_sound()
        draw(all_late=stopped())
        sound.end(float(last))
    return delays


def _stamped(video: LiveVideo, clock: Callable[[], float]) -> Generator[tuple[float, int, Frame], None, None]:
    """Yields frames with their pts and when they came."""
    for pts, frame in video.frames():
        yield clock(), pts, frame
