"""A live dub from source to sink: late frames pass through, none is lost, and how late each was is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keysync.face.face import Frame
from keysync.live.inputs import open_sound
from keysync.live.live import LATE, Live, LiveFrame
from keysync.live.run import Delays, run_live
from keysync.live.sinks import Passing
from keysync.media.info import PictureFormat
from keysync.report import DUBBED, PASSED_THROUGH
from keysync.systems.flashlips.models import FlashLips

from ..clips import HEIGHT, WIDTH
from .conftest import FRAMES, MISSED, Finder


class Clock:
    """A camera's clock: frames come at their times, and each batch that is drawn takes `batch` seconds."""

    def __init__(self, batch: float = 0.0) -> None:
        self.now, self.batch = 0.0, batch

    def __call__(self) -> float:
        return self.now


class Camera:
    """Frames that come by a clock: one that is read late has come earlier."""

    form = PictureFormat(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25))
    is_live = False  # one frame is read ahead: the clock stands still meanwhile

    def __init__(self, pictures: list[Frame]) -> None:
        self._pictures = pictures

    def frames(self) -> Iterator[tuple[int, Frame]]:
        yield from enumerate(self._pictures)


@dataclass
class Kept:
    """A sink that keeps what it gets."""

    frames: list[tuple[int, Frame]] = field(default_factory=list)
    ended: bool = False

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.ended = kind is None

    def write(self, frame: Frame, pts: int) -> None:
        self.frames.append((pts, frame))


def passing(clip: dict[str, Path]) -> Passing:
    sound = open_sound(str(clip["speech"]))
    return Passing(sound, sound.blocks())


def test_all_frames_go_out_in_order(models: FlashLips, clip: dict[str, Path], pictures: list[Frame]) -> None:
    sink, sound = Kept(), passing(clip)
    delays = run_live(Camera(pictures), sound, Live(models, Finder(), 25.0), sink)
    assert [pts for pts, _ in sink.frames] == list(range(FRAMES))
    assert sink.ended
    lost = len(MISSED) - 4
    assert (delays.frames, delays.dubbed, delays.others) == (FRAMES, FRAMES - lost, {"no face found": lost})
    assert delays.lines()[0] == f"{FRAMES} frames, {FRAMES - lost} dubbed, {lost} passed through"
    assert sum(block.shape[1] for block in sound.blocks()) == FRAMES * 640


class Timed(Live):
    """Draws in no time of its own: each batch takes what the clock says."""

    clock: Clock

    def take(self, *, draw: bool = True) -> list[LiveFrame]:
        if draw:
            self.clock.now += self.clock.batch
        return super().take(draw=draw)


@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_network_that_does_not_keep_up_lets_frames_pass(
    models: FlashLips, clip: dict[str, Path], pictures: list[Frame], limit: float | None
) -> None:
    """All frames have come at 0, and a batch takes 0.6 s: with a limit of a second two are drawn, without one all."""
    clock = Clock(0.6)
    live = Timed(models, Finder(), 25.0)
    live.clock = clock

    class Burst(Camera):
        is_live = True
        form = PictureFormat(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25))

    delays = run_live(Burst(pictures), passing(clip), live, Kept(), limit=limit, clock=clock)
    assert delays.frames == FRAMES
    assert (LATE in delays.others) == (limit is not None)
    if limit is None:
        assert max(delays.seconds) == pytest.approx(0.6 * 6)


def test_frames_that_a_live_source_left_out_are_counted(
    models: FlashLips, clip: dict[str, Path], pictures: list[Frame]
) -> None:
    class Skipping(Camera):
        is_live = True

        def frames(self) -> Iterator[tuple[int, Frame]]:
            yield from zip((0, 1, 4, 5, 7), self._pictures, strict=False)

    delays = run_live(Skipping(pictures), passing(clip), Live(models, Finder(), 25.0), Kept())
    assert delays.frames == 5
    assert delays.lines()[1] == "the source sent 3 frames fewer than 25 a second"


def test_a_run_that_is_stopped_writes_what_has_come(
    models: FlashLips, clip: dict[str, Path], pictures: list[Frame]
) -> None:
    sink, asked = Kept(), iter(range(100))
    delays = run_live(
        Camera(pictures), passing(clip), Live(models, Finder(), 25.0), sink, stopped=lambda: next(asked) >= 20
    )
    assert sink.ended
    assert [pts for pts, _ in sink.frames] == list(range(20))
    assert delays.dubbed == 8


def test_delays_are_told() -> None:
    delays = Delays()
    picture = np.zeros((1, 1, 3), np.uint8)
    for number in range(100):
        state = PASSED_THROUGH if number < 3 else DUBBED
        delays.add(LiveFrame(number, 0.0, picture, state, LATE), number / 100)
    assert delays.lines() == [
        "100 frames, 97 dubbed, 3 passed through",
        f"3 frames unchanged: {LATE}",
        "latency: median 0.49 s, 95 % within 0.94 s, largest 0.99 s",
    ]
