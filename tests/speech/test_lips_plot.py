from __future__ import annotations

import numpy as np

from keysync.plot import ABOVE, BELOW, COLOURS, LEFT, SOUND
from keysync.speech.lips_curve import LIPS, LipsCurve
from keysync.speech.lips_plot import draw_curve

SIZE = (240, 640)


def rows_of(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: tuple[int, int, int]) -> list[int]:
    """The rows of the plot, below its legend, that hold a colour."""
    return np.flatnonzero((picture[ABOVE:-BELOW, LEFT:] == colour).all(-1).any(1)).tolist()


def test_each_channel_has_its_line_and_height() -> None:
    values = np.tile(np.array([1.2, 0.6, 0.0, -0.5, -1.0], np.float32), (30, 1))
    picture = draw_curve(LipsCurve(values, 25.0), SIZE)
    assert picture.shape == (*SIZE, 3)
    assert picture.dtype == np.uint8
    middles = [np.mean(rows_of(picture, COLOURS[number])) for number in range(len(LIPS))]
    assert middles == sorted(middles)
    assert len(set(middles)) == len(LIPS)


def test_the_sound_is_behind_the_curve_for_as_long_as_it_lasts() -> None:
    curve = LipsCurve(np.zeros((50, 5), np.float32), 25.0)
    sound = np.sin(np.arange(16_000) / 10).astype(np.float32)
    silent, loud = draw_curve(curve, SIZE), draw_curve(curve, SIZE, sound, 16_000)
    assert not rows_of(silent, SOUND)
    columns = np.flatnonzero((loud == SOUND).all(-1).any(0))
    assert columns.min() <= LEFT + 1  # there is the mark of second 0
    assert abs(columns.max() - (LEFT + (SIZE[1] - LEFT) / 2)) <= 1  # the sound is half as long


def test_one_frame_is_drawn_too() -> None:
    picture = draw_curve(LipsCurve(np.zeros((1, 5), np.float32), 25.0), SIZE)
    assert rows_of(picture, COLOURS[0])
