"""Stored faces are those that were added, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.face.face import Face
from keysync.face.face_store import BLOCK, FaceStore
from keysync.face.finder.squares import Square

from ..synthetic_face import face


def test_faces_are_those_that_were_added() -> None:
    plain = face((60, 60), 40)
    placed = Face(
        plain.landmarks + 1, 0.25, (1.5, 2.0, 3.25, 4.0), Square(10.1, 20.2, 30.3, 0.4), np.ones(3, np.float32)
    )
    frames = [[plain], [], [placed, plain]] * BLOCK  # over several blocks
    store = FaceStore()
    for faces in frames:
        store.add(faces)
    assert len(store) == len(frames)
    assert store.counts.tolist() == [1, 0, 2] * BLOCK
    for frame in (0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, -1):
        for found, given in zip(store[frame], frames[frame], strict=True):
            np.testing.assert_array_equal(found.landmarks, given.landmarks)
            assert (found.confidence, found.box, found.place) == (given.confidence, given.box, given.place)
            assert (found.look is None) == (given.look is None)
    assert [len(faces) for faces in store[1:4]] == [0, 2, 1]
    with pytest.raises(IndexError):
        store[len(frames)]


def test_the_first_frames_stay_as_they_are() -> None:
    store = FaceStore()
    store.add([face((60, 60))])
    store.add([face((70, 60))])
    first = store.first(1)
    store.add([face((80, 60))])
    first.add([])
    assert (len(first), len(store)) == (2, 3)
    np.testing.assert_array_equal(first[0][0].landmarks, store[0][0].landmarks)
    assert first[1] == []
    np.testing.assert_array_equal(store[1][0].landmarks, face((70, 60)).landmarks)
