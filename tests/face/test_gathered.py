"""Gathered faces and boxes are those that were added, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.face.face import Box, Face
from keysync.face.finder.squares import Square
from keysync.face.gathered import BLOCK, Boxes, Gathered

from ..synthetic_face import face


def test_faces_are_those_that_were_added() -> None:
    plain = face((60, 60), 40)
    placed = Face(
        plain.landmarks + 1, 0.25, (1.5, 2.0, 3.25, 4.0), Square(10.1, 20.2, 30.3, 0.4), np.ones(3, np.float32)
    )
    frames = [[plain], [], [placed, plain]] * BLOCK  # over several blocks
    gathered = Gathered()
    for faces in frames:
        gathered.add(faces)
    assert len(gathered) == len(frames)
    assert gathered.counts.tolist() == [1, 0, 2] * BLOCK
    for frame in (0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, -1):
        for found, given in zip(gathered[frame], frames[frame], strict=True):
            np.testing.assert_array_equal(found.landmarks, given.landmarks)
            assert (found.confidence, found.box, found.place) == (given.confidence, given.box, given.place)
            assert (found.look is None) == (given.look is None)
    assert [len(faces) for faces in gathered[1:4]] == [0, 2, 1]
    with pytest.raises(IndexError):
        gathered[len(frames)]


def test_the_first_frames_stay_as_they_are() -> None:
    gathered = Gathered()
    gathered.add([face((60, 60))])
    gathered.add([face((70, 60))])
    first = gathered.first(1)
    gathered.add([face((80, 60))])
    first.add([])
    assert (len(first), len(gathered)) == (2, 3)
    np.testing.assert_array_equal(first[0][0].landmarks, gathered[0][0].landmarks)
    assert first[1] == []
    np.testing.assert_array_equal(gathered[1][0].landmarks, face((70, 60)).landmarks)


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
