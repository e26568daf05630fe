"""The people of a shot: which face continues which, who is another person, and who is prominent."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.face.association import Person, associate
from keysync.face.face import Face


def at(x: float, y: float = 100.0, side: float = 40.0) -> Face:
    """A face with a square box around (x, y)."""
    corners = np.array([[x - side / 2, y - side / 2], [x + side / 2, y + side / 2]], dtype=np.float32)
    return Face.of(corners, 0.9)


def people(*faces: list[Face], frames: list[int] | None = None) -> list[list[int]]:
    """The frames of each person, in the order in which they are first seen."""
    return [list(person.faces) for person in associate(frames or list(range(len(faces))), faces)]


SAME, ANOTHER = [[0, 1]], [[0], [1]]


@pytest.mark.parametrize(
    ("side", "expected"),
    [(20, ANOTHER), (20.2, SAME), (30, SAME), (40, SAME), (60, SAME), (79, SAME), (80, ANOTHER), (120, ANOTHER)],
)
def test_a_face_of_half_or_twice_the_size_is_another_person(side: float, expected: list[list[int]]) -> None:
    assert people([at(100, side=40)], [at(100, side=side)]) == expected


def test_a_face_in_a_poster_behind_the_head_is_not_taken_for_the_head() -> None:
    """The head turns away while a far smaller face shows at its place, and comes back."""
    head, poster = at(100, side=80), at(105, side=30)
    assert people([head], [poster], [poster], [head]) == [[0, 3], [1, 2]]


@pytest.mark.parametrize(("moved", "expected"), [(0, SAME), (23, SAME), (25, ANOTHER), (60, ANOTHER)])
def test_a_face_moves_less_than_its_size_from_frame_to_frame(moved: float, expected: list[list[int]]) -> None:
    """At most 0.5 of the larger side, and 0.1 for each frame."""
    assert people([at(100)], [at(100 + moved)]) == expected
    assert people([at(100, 100)], [at(100, 100 - moved)]) == expected


@pytest.mark.parametrize(("moved", "expected"), [(35, SAME), (37, ANOTHER)])
def test_the_larger_of_two_sizes_tells_how_far_a_face_moves(moved: float, expected: list[list[int]]) -> None:
    assert people([at(100, side=40)], [at(100 + moved, side=60)]) == expected
    assert people([at(100, side=60)], [at(100 + moved, side=40)]) == expected


@pytest.mark.parametrize(
    ("frame", "moved", "same"), [(5, 39, True), (5, 41, False), (10, 59, True), (10, 61, False), (50, 61, False)]
)
def test_a_face_may_have_gone_further_the_longer_it_was_not_seen(frame: int, moved: float, same: bool) -> None:
    expected = [[0, frame]] if same else [[0], [frame]]
    assert people([at(100)], [at(100 + moved)], frames=[0, frame]) == expected


def test_each_face_continues_the_person_that_it_fits_best() -> None:
    left, right = at(100), at(120)
    for seen in ([at(104), at(124)], [at(124), at(104)]):
        first, second = associate([0, 1], [[left, right], seen])
        assert (first.faces[0], second.faces[0]) == (left, right)
        assert first.faces[1].box[0] == pytest.approx(84)
        assert second.faces[1].box[0] == pytest.approx(104)


def test_a_face_that_covers_more_of_the_person_fits_better() -> None:
    """Though the other one is nearer, measured in its own size."""
    covering, nearer = at(80), at(128, side=60)
    for seen in ([covering, nearer], [nearer, covering]):
        first, second = associate([0, 1], [[at(100)], seen])
        assert (first.faces[1], second.faces[1]) == (covering, nearer)


def test_two_faces_of_a_frame_are_two_people() -> None:
    assert people([at(100), at(101)]) == [[0], [0]]
    assert people([at(100)], [at(102), at(110)]) == [[0, 1], [1]]


def test_prominence_is_the_median_area_and_the_share_of_frames() -> None:
    assert Person(4, {0: at(0, side=10), 1: at(0, side=20), 2: at(0, side=100)}).prominence == 400 * 3 / 4
    (person,) = associate([3, 4, 5, 6], [[at(100)], [], [], [at(100)]])
    assert person.length == 4
    assert person.prominence == 1600 * 2 / 4
