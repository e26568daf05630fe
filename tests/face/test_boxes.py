"""Boxes are those that were given, by frame and index."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.face.boxes import Boxes
from keysync.face.face import Box


def test_boxes_are_found_by_frame_and_index() -> None:
    large: Box = (1.0, 2.0, 30.5, 40.0)
    small: Box = (5.0, 6.0, 7.0, 8.0)
    boxes = Boxes.of([(2, 0, large), (0, 1, small), (2, 1, small)], 4)
    assert list(boxes) == [{1: small}, {}, {0: large, 1: small}, {}]
    assert boxes[-2] == {0: large, 1: small}
    assert boxes[1:3] == [{}, {0: large, 1: small}]
    assert list(boxes.at(np.array([2, 2, 1, 0]))) == [boxes[2], boxes[2], {}, {1: small}]
    assert list(Boxes.of([], 2)) == [{}, {}]
    with pytest.raises(IndexError):
        boxes[4]
