"""A table of tilted heads tells a perfect dub from none, whatever the roll."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import radians

import numpy as np
import pytest
from numpy.typing import NDArray

import training.evaluation.tilt as tilt
from keysync.face.pose import rolls
from keysync.systems.renderer import Renderer
from training.evaluation.dubbing import changeable
from training.evaluation.film import Film, talk_film
from training.evaluation.scope import ModelFiles, open_models

FRAMES, SIDE = 20, 128


@pytest.fixture(scope="module")
def film() -> Film:
    return talk_film(5, 0, FRAMES, SIDE)


class PerfectWhereTurned:
    """Dubs that show the truth in turned crops, and the source in upright ones."""

    def __init__(self, film: Film) -> None:
        self.film = film

    def dub(self, models: Renderer, *, align: bool) -> NDArray[np.uint8]:
        source = self.film.source.frames
        inside = changeable(self.film.source, models, align=align)
        return np.where(inside[..., None] & align, self.film.real.frames, source)


def test_the_head_is_tilted_in_its_place(film: Film) -> None:
    tilted = replace(film, shot=replace(film.shot, roll=radians(30)))
    assert np.median(rolls(tilted.real_landmarks) - rolls(film.real_landmarks)) == pytest.approx(30, abs=2)
    middles = [one.real_landmarks.mean((0, 1)) for one in (film, tilted)]
    assert np.abs(middles[0] - middles[1]).max() < 0.06 * SIDE


def test_a_perfect_dub_is_told_from_none(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def studio(film: Film) -> Iterator[PerfectWhereTurned]:
        yield PerfectWhereTurned(film)

    monkeypatch.setattr(tilt, "studio", studio)
    monkeypatch.setattr(tilt, "ROLLS", (30,))
    models = open_models(ModelFiles())
    figures = tilt.measure(models, [film], 30)
    assert figures["real"].pixels == [0]
    assert figures["turned"].pixels[0] < 0.5 * figures["upright"].pixels[0]
    assert figures["upright"].seams == [pytest.approx(1)]
    assert [figures[name].outside for name in ("upright", "turned")] == [0, 0]
    lines = list(tilt.table(models, [film]))
    assert [line.split(" | ")[1] for line in lines[2:]] == ["real", "upright", "turned"]
