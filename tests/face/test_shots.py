"""Cuts between shots: how large a change is one, measured on pictures whose change is known exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from keysync.face.face import Frame
from keysync.face.shots import ShotCounter

# As large as a thumbnail, so that every pixel counts.
HEIGHT, WIDTH = 36, 64
PIXELS = HEIGHT * WIDTH
START = np.arange(PIXELS) % 2 * 255


def pictures(changes: Sequence[float]) -> list[Frame]:
    """Black and white dots, of which from picture to picture so large a share changes colour: as many turn white as
    black, so that the histogram stays."""
    levels, made = START.copy(), []
    for change in (0.0, *changes):
        pairs = round(change * PIXELS / 2)
        black, white = (np.flatnonzero(levels == colour)[:pairs] for colour in (0, 255))
        levels[black], levels[white] = 255, 0
        made.append(levels.copy())
    return [dots.reshape(HEIGHT, WIDTH, 1).repeat(3, -1).astype(np.uint8) for dots in made]


def shots(frames: Sequence[Frame]) -> list[int]:
    counter = ShotCounter()
    return [counter.add(frame) for frame in frames]


def test_the_pictures_change_as_said() -> None:
    first, second, third = (frame / 255 for frame in pictures([0.25, 0.5]))
    assert np.abs(second - first).mean() == pytest.approx(0.25, abs=1e-3)
    assert np.abs(third - second).mean() == pytest.approx(0.5, abs=1e-3)
    assert first.mean() == second.mean() == third.mean() == 0.5


@pytest.mark.parametrize(("change", "cut"), [(0.118, False), (0.122, True)])
def test_a_cut_changes_12_percent(change: float, cut: bool) -> None:
    assert shots(pictures([0, 0, change, 0])) == [0, 0, 0, cut, cut]


@pytest.mark.parametrize(("share", "cut"), [(0.22, False), (0.26, True)])
def test_colours_that_change_count_too(share: float, cut: bool) -> None:
    """Half the share of pixels that go to another of the histogram's colours; the colours themselves hardly differ."""
    dark = np.full((HEIGHT, WIDTH, 3), 31, dtype=np.uint8)
    lighter = dark.copy()
    lighter.reshape(-1, 3)[: round(share * PIXELS)] = 32
    assert shots([dark, dark, lighter]) == [0, 0, cut]


@pytest.mark.parametrize(("change", "cut"), [(0.29, False), (0.31, True)])
def test_a_cut_changes_three_times_what_motion_does(change: float, cut: bool) -> None:
    assert shots(pictures([*[0.1] * 8, change])) == [*[0] * 9, cut]


def test_motion_that_ended_is_forgotten() -> None:
    """The recent changes are eight: three of a still picture do not outvote five of motion, four and four meet."""
    assert shots(pictures([*[0.11] * 8, *[0] * 3, 0.2]))[-1] == 0
    assert shots(pictures([*[0.11] * 8, *[0] * 4, 0.2]))[-1] == 1


@pytest.mark.parametrize(("change", "cut"), [(0.39, False), (0.41, True)])
def test_a_cut_changes_twice_what_the_frame_before_it_did(change: float, cut: bool) -> None:
    """So the end of a flash is none, whose start was one."""
    assert shots(pictures([0, 0, 0, 0, 0.2, change])) == [0, 0, 0, 0, 0, 1, 1 + cut]


@pytest.mark.parametrize("times", [1, 5, 20])
def test_pictures_of_any_size_are_seen_alike(times: int) -> None:
    frames = [frame.repeat(times, 0).repeat(times, 1) for frame in pictures([0, 0.13, 0, 0.11])]
    assert shots(frames) == [0, 0, 1, 1, 1]


def test_the_grain_of_a_film_is_no_cut() -> None:
    random = np.random.default_rng(0)
    grain = [random.integers(64, 192, (720, 1280, 3), dtype=np.uint8) for _ in range(3)]
    assert shots(grain) == [0, 0, 0]
