"""The preview draws on a copy, and only what it was given."""

from __future__ import annotations

import numpy as np
import torch

from keysync.face.preview import CROP, FACE, POINT, draw_track

from ..synthetic_face import face_points

FRAME = np.full((120, 160, 3), 100, dtype=np.uint8)


def test_points_crop_and_mask_are_drawn() -> None:
    mask = torch.zeros(64, 64)
    mask[32:] = 1
    picture = draw_track(FRAME, face_points((80, 50), 40), (40, 10, 80), mask)
    assert (FRAME == 100).all()
    assert picture[10, 60].tolist() == list(CROP)
    x, y = face_points((80, 50), 40)[8]
    assert picture[round(float(y)), round(float(x))].tolist() == list(POINT)
    assert picture[85, 45, 0] > 120
    assert picture[20, 45].tolist() == [100, 100, 100]


def test_a_frame_without_a_face_stays_as_it_is() -> None:
    assert np.array_equal(draw_track(FRAME), FRAME)
    assert np.array_equal(draw_track(FRAME, np.full((68, 2), np.nan)), FRAME)


def test_every_face_gets_an_outline_and_its_number() -> None:
    boxes = {0: (10.0, 10.0, 60.0, 60.0), 1: (100.0, 20.0, 140.0, 60.0)}
    picture = draw_track(FRAME, faces=boxes)
    for x0, y0, x1, y1 in boxes.values():
        corner = picture[int(y0) : int(y0) + 15, int(x0) : int(x0) + 15].reshape(-1, 3)
        assert (corner == FACE).all(1).any()
        assert corner.sum(1).min() < 200  # ink
        assert picture[int(y1), int(x1)].tolist() == list(FACE)
    assert not np.array_equal(picture[10:26, 10:22], picture[20:36, 100:112])
    assert picture[100, 150].tolist() == [100, 100, 100]
