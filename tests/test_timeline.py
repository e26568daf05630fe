from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.timeline import SYNC_MODES, Timeline, fit, network_times, still

TICK = Fraction(1, 1000)


def fitted(pts: list[int], audio: float, mode: str, last: int = 40, tick: Fraction = TICK) -> Timeline:
    return fit(np.asarray(pts, dtype=np.int64), last, tick, audio, mode)


def shown(timeline: Timeline) -> tuple[list[int], list[int], float]:
    return timeline.source.tolist(), timeline.pts.tolist(), round(timeline.seconds, 9)


VARIABLE = [0, 40, 70, 200]  # shown for 40, 30, 130 and 40 ms


@pytest.mark.parametrize(
    ("mode", "audio", "expected"),
    [
        ("silence", 0.1, ([0, 1, 2, 3], VARIABLE, 0.24)),
        ("silence", 9.0, ([0, 1, 2, 3], VARIABLE, 0.24)),
        ("cut_off", 9.0, ([0, 1, 2, 3], VARIABLE, 0.24)),
        ("cut_off", 0.1, ([0, 1, 2], [0, 40, 70], 0.1)),
        ("cut_off", 0.07, ([0, 1], [0, 40], 0.07)),
        ("cut_off", 0.000_01, ([0], [0], 0.000_01)),
        ("loop", 0.32, ([0, 1, 2, 3, 0, 1, 2], [0, 40, 70, 200, 240, 280, 310], 0.32)),
        ("loop", 0.07, ([0, 1], [0, 40], 0.07)),
        ("bounce", 0.46, ([0, 1, 2, 3, 2, 1, 0, 1], [0, 40, 70, 200, 240, 370, 400, 440], 0.46)),
        ("bounce", 0.07, ([0, 1], [0, 40], 0.07)),
    ],
)
def test_modes(mode: str, audio: float, expected: Any) -> None:
    assert shown(fitted(VARIABLE, audio, mode)) == expected
    # A file whose first timestamp is not zero keeps it, and its speech starts with its first frame.
    source, pts, seconds = shown(fitted([pts + 777 for pts in VARIABLE], audio, mode))
    assert (source, [stamp - 777 for stamp in pts], seconds) == expected


def test_bounce_repeats_no_end() -> None:
    assert fitted([0, 40, 80], 0.4, "bounce").source.tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1]
    assert fitted([0, 40], 0.2, "bounce").source.tolist() == [0, 1, 0, 1, 0]
    assert fitted([0], 0.12, "bounce").source.tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize(
    ("tick", "step"), [(Fraction(1, 30000), 1001), (Fraction(1, 12800), 512), (Fraction(1, 25), 1)]
)
def test_equal_lengths_are_left_alone(mode: str, tick: Fraction, step: int) -> None:
    pts = [frame * step for frame in range(250)]
    timeline = fitted(pts, float(250 * step * tick), mode, step, tick)
    assert shown(timeline)[:2] == (list(range(250)), pts)
    assert timeline.rate == 1 / (step * tick)


@pytest.mark.parametrize("audio", [0.5, 4.0, 13.7])
def test_remap_stretches_evenly(audio: float) -> None:
    pts = [frame * 40 for frame in range(100)]
    timeline = fitted(pts, audio, "remap")
    assert np.array_equal(timeline.pts, 40 * np.arange(len(timeline.pts)))
    assert timeline.pts[-1] / 1000 < audio <= timeline.pts[-1] / 1000 + 0.04
    assert timeline.seconds == pytest.approx(audio)
    stretched = np.minimum(timeline.times * 4.0 / audio, 99 * 0.04)
    assert np.abs(timeline.source * 0.04 - stretched).max() <= 0.02 + 1e-9


def test_remap_takes_the_nearest_of_uneven_frames() -> None:
    timeline = fitted(VARIABLE, 0.48, "remap")  # 60 ms a frame, each second of the result half a second of the source
    assert timeline.pts.tolist() == [0, 60, 120, 180, 240, 300, 360, 420]
    assert timeline.source.tolist() == [0, 1, 2, 2, 2, 3, 3, 3]


def test_a_float_of_a_length_adds_no_frame() -> None:
    """0.1 s as a float is a little more than a tenth."""
    for frames in range(1, 200):
        timeline = fitted([40 * frame for frame in range(300)], frames * 640 / 16000, "cut_off")
        assert len(timeline.source) == frames


def test_rate_of_one_frame() -> None:
    assert fitted([0], 1.0, "cut_off").rate == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([0, 40], 1.0, "stretch"),
            "unknown sync mode 'stretch': choose one of bounce, loop, remap, cut_off, silence",
        ),
        (([], 1.0, "loop"), "the video holds no frames: use a video with at least one"),
        (([0, 40], 0.0, "loop"), "the speech holds no samples: use an audio file with at least one"),
        (
            ([0, 40, 40], 1.0, "loop"),
            "frame 1 of the video has no duration: its timestamps must increase; encode the video again",
        ),
    ],
)
def test_errors(arguments: Any, message: str) -> None:
    if not arguments[0]:
        with pytest.raises(KeySyncError) as error:
            fit(np.zeros(0, dtype=np.int64), 40, TICK, arguments[1], arguments[2])
    else:
        with pytest.raises(KeySyncError) as error:
            fitted(*arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "rate", [Fraction(20), Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(33)]
)
def test_near_rates_run_frame_by_frame(rate: Fraction) -> None:
    times = 3.2 + np.arange(50) / float(rate)
    network = network_times(times, rate)
    assert np.array_equal(network.times, times)
    assert network.source.tolist() == network.shown.tolist() == list(range(50))


@pytest.mark.parametrize("rate", [5, 12.5, 15, 19.9, 33.4, 48, 50, 59.94, 60, 120])
@pytest.mark.parametrize("start", [0.0, 7.3])
def test_other_rates_run_at_25(rate: float, start: float) -> None:
    times = start + np.arange(77) / rate
    network = network_times(times, Fraction(rate))
    assert network.times[0] == start
    assert np.allclose(np.diff(network.times), 0.04)
    assert network.shown[0] == 0
    assert network.shown[-1] + 1 == len(network.times) == len(network.source)
    assert np.abs(network.times[network.shown] - times).max() <= 0.02 + 1e-6
    nearest = np.abs(times[:, None] - network.times).min(0)
    assert np.allclose(np.abs(times[network.source] - network.times), nearest, atol=1e-6)
    assert (np.diff(network.shown) >= 0).all()


def test_ties_are_decided_alike() -> None:
    """At 50 frames a second every other frame lies in the middle of two network frames."""
    network = network_times(1.7 + np.arange(2000) / 50, Fraction(50))
    assert np.array_equal(network.shown, (np.arange(2000) + 1) // 2)
    assert np.array_equal(network.source[:-1], 2 * np.arange(1000))


def test_uneven_frames_at_another_rate() -> None:
    network = network_times(np.asarray([0.0, 0.5, 0.51, 1.0]), Fraction(4))
    assert len(network.times) == 26
    assert network.shown.tolist() == [0, 13, 13, 25]
    assert network.source[[0, 6, 7, 12, 13, 18, 19, 25]].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("seconds", "count"), [(0.6, 15), (0.001, 1), (1.01, 26), (0.1 + 0.2, 8)])
def test_a_picture_lasts_as_long_as_the_speech(seconds: float, count: int) -> None:
    timeline = still(seconds)
    assert timeline.source.tolist() == [0] * count
    assert timeline.pts.tolist() == list(range(count))
    assert timeline.rate == 25
    assert timeline.seconds == seconds


def timeline_of(milliseconds: list[int]) -> Timeline:
    return Timeline(np.arange(len(milliseconds)), np.asarray(milliseconds), Fraction(1, 1000), milliseconds[-1] / 1000)


def test_a_pause_has_no_part_in_the_rate() -> None:
    even = list(range(0, 1000, 40))
    paused = timeline_of([*even, *(60_000 + pts for pts in even)])
    assert paused.pauses.tolist() == [25]
    assert paused.moving_rate == 25
    assert paused.rate < 1
    assert timeline_of(even).moving_rate == timeline_of(even).rate == 25
    assert timeline_of([0, 1000, 2000]).pauses.tolist() == []
    slides = timeline_of([0, 5000, 9000])
    assert slides.pauses.tolist() == [1, 2]
    assert slides.moving_rate == slides.rate


@pytest.mark.parametrize(
    ("mode", "seconds", "same"),
    [("cut_off", 9.0, True), ("silence", 0.1, True), ("loop", 0.1, True), ("loop", 9.0, False), ("remap", 1.0, False)],
)
def test_whether_frames_keep_their_times(mode: str, seconds: float, same: bool) -> None:
    assert fit(np.asarray([500, 540, 600]), 40, TICK, seconds, mode).same_times is same
