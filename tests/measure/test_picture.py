from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keysync.measure.change import Change
from keysync.measure.figures import Measured
from keysync.measure.mouths import Mouths
from keysync.measure.picture import ASKED, MARK, MOUTH, QUIET, SIZE, SOURCE, TITLE, picture_of, write_picture
from keysync.plot import SOUND

from .curves import measured_talk, mouths, sound

Picture = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def columns(picture: Picture, colour: tuple[int, int, int]) -> list[int]:
    return np.flatnonzero((picture[TITLE + 30 :] == colour).all(-1).any(0)).tolist()


def test_everything_has_its_colour_in_its_place() -> None:
    picture = picture_of(measured_talk())
    assert picture.shape == (*SIZE, 3)
    for colour in (MOUTH, ASKED, MARK, SOUND, QUIET):
        assert columns(picture, colour)
    silence = (picture[TITLE + 60 : 300] == QUIET).all(-1).any(0)
    assert silence[1000:1240].mean() > 0.9  # the last second of four
    assert silence[60:300].mean() < 0.1
    assert not columns(picture, SOURCE)


def test_the_sources_mouth_is_drawn_behind() -> None:
    whole = measured_talk(Change(1.0, 0.0, 1.0, 0, 0.0), mouths(late=0, size=0.05))
    assert columns(picture_of(whole), SOURCE)


def test_an_hour_and_a_single_frame_are_drawn_too() -> None:
    one = Mouths(np.full((1, 4), 0.1), np.full(1, 0.2), np.full(1, 9.0))
    assert picture_of(Measured.of("one", np.zeros(1), one, sound()), (480, 640)).shape == (480, 640, 3)
    count = 90_000
    ratio = np.abs(np.sin(np.arange(count) / 9))
    long = Mouths(np.tile(ratio[:, None], (1, 4)), ratio, ratio)
    measured = replace(measured_talk(), times=np.arange(count) / 25, mouths=long)
    assert columns(picture_of(measured), MOUTH)


@pytest.mark.parametrize("name", ["mouth.png", "mouth.svg"])
def test_it_is_written_as_its_name_says(name: str, tmp_path: Path) -> None:
    write_picture(measured_talk(), tmp_path / name)
    begin = (tmp_path / name).read_bytes()[:5]
    assert begin == (b"\x89PNG\r" if name.endswith("png") else b"<svg ")
