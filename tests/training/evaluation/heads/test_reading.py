"""How a long film holds: drift from its first second to its last, and jumps at the joints of its windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keysync.systems.keyface.models import KeyFaceModels, load_keyface
from tests.tiny_keyface import write_tiny_keyface
from training.evaluation.heads.film import talking
from training.evaluation.heads.reading import animate, drift, joints

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(60, 190, (64, 64, 3))


def film_of(*pictures: np.ndarray) -> np.ndarray:
    return np.stack(pictures).clip(0, 255).astype(np.uint8)


def test_no_drift() -> None:
    film = film_of(*[PICTURE] * 4)
    assert drift(film[:2], film[2:]) == (0.0, 0.0)


def test_drift_of_colour_alone() -> None:
    colour, shape = drift(film_of(PICTURE), film_of(PICTURE + 10))
    assert colour == pytest.approx(10)
    assert shape < 1e-3


def test_drift_of_shape() -> None:
    colour, shape = drift(film_of(PICTURE), film_of(np.roll(PICTURE, 1, axis=1)))
    assert shape > 1
    assert colour < 10


def test_a_jump_at_the_joints_is_seen() -> None:
    steps = np.cumsum([0, *(3 if number % 13 in (12, 0) and number else 1 for number in range(60))])
    film = film_of(*[np.full((8, 8, 3), 10 + step) for step in steps])
    assert joints(film, 13) == pytest.approx(3)
    even = film_of(*[np.full((8, 8, 3), 10 + step) for step in range(60)])
    assert joints(even, 13) == pytest.approx(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> KeyFaceModels:
    given: dict[str, Any] = {**write_tiny_keyface(tmp_path_factory.mktemp("keyface"))}
    return load_keyface(**given)


def test_a_film_is_animated(models: KeyFaceModels) -> None:
    needs = models.needs
    film = talking(0, 0, 15, needs.crop_size[0], needs.crop_scale)
    made = animate(models, film)
    assert made.shape == (15, *needs.crop_size, 3)
    assert made.dtype == np.uint8
