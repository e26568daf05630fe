"""Heads for training a VAE: whole in the crop, with feelings, and with eyes and brows that count."""

from __future__ import annotations

import numpy as np
import pytest

from training.small.vae.crops import PersonCrops
from training.small.vae.heads import EYE_WEIGHT, EYES, FRAMES, head_weights, render_head
from training.small.vae.loss import KEPT_WEIGHT, MOUTH, MOUTH_WEIGHT

SIZE = 64


@pytest.fixture(scope="module")
def person() -> PersonCrops:
    return render_head(0, SIZE)


def test_the_head_stays_in_the_crop(person: PersonCrops) -> None:
    assert person.pictures.shape == (FRAMES, SIZE, SIZE, 3)
    assert person.landmarks.shape == (FRAMES, 68, 2)
    assert (person.landmarks > 0).all()
    assert (person.landmarks < SIZE - 1).all()
    spread = np.ptp(person.landmarks[0], axis=0).max()
    assert SIZE / 1.7 < spread < SIZE / 1.5, "a crop is 1.6 times as wide as the face"


def test_people_feel(person: PersonCrops) -> None:
    upper, lower = (person.landmarks[:, points].mean(1) for points in (slice(17, 27), slice(36, 48)))
    raised = np.linalg.norm(upper - lower, axis=1)
    assert raised.max() > 1.2 * raised.min(), "brows rise with arousal"


def test_a_number_gives_one_person(person: PersonCrops) -> None:
    np.testing.assert_array_equal(render_head(0, SIZE).pictures, person.pictures)
    assert not np.array_equal(render_head(1, SIZE).pictures, person.pictures)


def test_eyes_and_mouth_weigh_most(person: PersonCrops) -> None:
    landmarks = person.landmarks[0]
    weights = head_weights(landmarks, SIZE)

    def at(points: np.ndarray) -> float:
        column, row = points.mean(0).astype(int)
        return float(weights[row, column])

    assert at(landmarks[MOUTH]) == MOUTH_WEIGHT
    assert {at(landmarks[eye]) for _, eye in EYES} == {EYE_WEIGHT}
    assert {at(landmarks[brow]) for brow, _ in EYES} == {EYE_WEIGHT}
    assert at(landmarks[29:31]) == 1, "the nose"
    assert weights[0, 0] == KEPT_WEIGHT
