from __future__ import annotations

import numpy as np
import pytest

from keysync.face.crop import Crops
from keysync.face.masks import MASKS
from keysync.face.track import from_landmarks
from keysync.measure.region import changeable
from keysync.systems.renderer import Needs
from tests.synthetic_face import face_points
from training.evaluation.dubbing import masks_of

SIZE = 200, 240


@pytest.mark.parametrize("mask", sorted(MASKS))
def test_it_is_where_a_dub_pastes(mask: str) -> None:
    track = from_landmarks([face_points() + 20], SIZE)
    crops = Crops.of(track, (64, 64), 1.5)
    inside = changeable(crops, 0, track.landmarks[0], mask, SIZE)
    pasted = masks_of(track, Needs((64, 64), 1.5, mask, ()), mask)[0]
    assert inside.shape == SIZE
    assert 0 < inside.mean() < 0.6
    assert np.mean(inside != pasted) < 0.01
