"""People are known by their looks: across cuts, after they were hidden, and where two met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.association import Person
from keysync.face.detectors import make_detector
from keysync.face.face import Face, Frame
from keysync.face.likeness import LikenessReader, Look, likeness, likeness_reader, look_in, mean_look
from keysync.face.people import join, meetings, unswapped
from keysync.face.speaking import agreement, turns
from keysync.face.track import Clues, FaceChoice, Tracker

from ..portrait import portrait_frames
from ..synthetic_face import face_points
from .test_association import at

RATE = 25.0


def look(number: int) -> Look:
    """A look unlike those of other numbers."""
    row = np.zeros(48, np.float32)
    row[number] = 1
    return row


def seen(frames: range, x: float, number: int, step: float = 0.0) -> Person:
    """A person at x, which grows by `step` a frame, who looks like `number`."""
    faces = {}
    for frame in frames:
        place = at(x + step * (frame - frames.start))
        faces[frame] = Face(place.landmarks, 0.9, place.box, None, look(number))
    return Person(len(frames), faces)


def test_shots_of_one_person_are_joined_and_those_of_two_are_not() -> None:
    people = join(
        [seen(range(10), 50, 0), seen(range(10), 200, 1), seen(range(10, 20), 200, 0), seen(range(10, 20), 50, 1)]
    )
    assert [sorted(person.faces) for person in people] == [list(range(20)), list(range(20))]
    centres = [[person.faces[frame].box[0] + 20 for frame in (0, 15)] for person in people]
    assert centres == [[50, 200], [200, 50]]


def test_two_in_one_frame_are_never_one_person() -> None:
    assert len(join([seen(range(10), 50, 0), seen(range(5, 12), 200, 0)])) == 2


def test_a_face_without_a_look_stays_alone() -> None:
    blank = Person(5, {frame: at(50) for frame in range(20, 25)})
    assert len(join([seen(range(10), 50, 0), blank])) == 2


def test_people_who_swapped_where_they_met_are_swapped_back() -> None:
    """Two cross; places alone have each turn round where they met."""
    first, second = seen(range(40), 0, 0, 5), seen(range(40), 200, 1, -5)
    faces = [dict(first.faces), dict(second.faces)]
    mixed = [
        Person(40, {frame: faces[number if frame < 20 else 1 - number][frame] for frame in range(40)})
        for number in (0, 1)
    ]
    assert meetings(*mixed) != []
    for person, number in zip(unswapped(*mixed), (0, 1), strict=True):
        looks = [int(np.argmax(face.look)) for face in person.faces.values() if face.look is not None]
        assert looks.count(number) >= 38


def test_people_who_did_not_swap_stay() -> None:
    first, second = seen(range(40), 0, 0, 5), seen(range(40), 200, 1, -5)
    for before, after in zip((first, second), unswapped(first, second), strict=True):
        assert before.faces == after.faces


def test_a_portrait_looks_like_itself_in_other_light() -> None:
    picture = next(portrait_frames(1))
    reader, points = likeness_reader(), face_of(picture)
    dark = (picture * 0.5).astype(np.uint8)
    one, other = reader.look(picture, points), reader.look(dark, points)
    assert one is not None
    assert other is not None
    assert likeness(one, other) > 0.8
    mirrored = reader.look(np.ascontiguousarray(picture[::-1]), points)
    assert mirrored is None or likeness(one, mirrored) < 0.5


def face_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return make_detector("mediapipe").detect(picture)[0].landmarks


def test_a_small_or_dark_face_tells_nothing() -> None:
    points = face_points()
    assert likeness_reader().look(np.zeros((180, 320, 3), np.uint8), points) is None
    assert likeness_reader().look(np.full((180, 320, 3), 200, np.uint8), (points / 20).astype(np.float32)) is None


def test_a_picture_without_a_face_is_an_error() -> None:
    class Blind:
        def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
            return []

        def close(self) -> None: ...

    with pytest.raises(KeySyncError, match=r"anna\.png shows no face: choose a picture"):
        look_in(np.zeros((9, 9, 3), np.uint8), "anna.png", Blind())


def test_the_mean_of_no_looks_is_none() -> None:
    assert mean_look([]) is None


def speech(seed: int, frames: int = 100) -> NDArray[np.float64]:
    return np.convolve(np.random.default_rng(seed).uniform(0, 1, frames + 4), np.ones(5) / 5, "valid")


def test_a_mouth_agrees_with_its_own_voice_though_it_is_early() -> None:
    said = speech(0)
    assert agreement(np.roll(said, 2), said, RATE) > 0.9
    assert agreement(np.roll(said, 2), said, RATE, 0) < 0.85
    assert agreement(speech(1), said, RATE) < 0.6
    assert agreement(np.full(100, 0.2), said, RATE) == 0
    assert agreement(np.where(np.arange(100) < 20, said, np.nan), said, RATE) == 0


def speaking(frames: range, x: float, opening: NDArray[np.float64]) -> Person:
    """A person whose inner lips open so far in each frame."""
    faces = {}
    for frame in frames:
        points = face_points((x, 60.0), 40)
        middle = points[60:68].mean(0)[1]
        for upper, lower in ((61, 67), (62, 66), (63, 65)):
            points[upper, 1], points[lower, 1] = middle - 10 * opening[frame], middle + 10 * opening[frame]
        faces[frame] = Face.of(points, 1.0)
    return Person(len(frames), faces)


def test_each_speaks_while_their_mouth_says_what_is_heard() -> None:
    said, still = speech(0, 200), np.full(200, 0.1)
    first = speaking(range(200), 60, np.where(np.arange(200) < 100, said, still))
    second = speaking(range(200), 220, np.where(np.arange(200) < 100, still, said))
    speaker = turns([first, second], said, RATE)
    assert (speaker[:75] == 0).all()
    assert (speaker[125:] == 1).all()
    assert (turns([first, second], np.zeros(200), RATE) == -1).all()


def test_a_choice_by_picture_takes_the_one_who_looks_like_it_in_every_shot(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = [noise(seed) for seed in (1, 2)]
    tracker = Tracker()
    for frame in range(20):
        left, right = (0, 1) if frame < 10 else (1, 0)
        monkeypatch.setattr(
            LikenessReader, "look", lambda self, _, points, of=(left, right): look(of[int(points[0, 0] > 140)])
        )
        tracker.add(shots[frame // 10], [Face.of(face_points((x, 60.0), 40), 1.0) for x in (60, 220)])
    track = tracker.finish(FaceChoice(picture=Path("anna.png")), Clues(look(1)))
    assert track.found.all()
    assert (track.landmarks[:10, :, 0].mean(1) > 160).all()
    assert (track.landmarks[10:, :, 0].mean(1) < 160).all()
    with pytest.raises(KeySyncError, match=r"no face in the video looks like the one in anna\.png"):
        tracker.finish(FaceChoice(picture=Path("anna.png")), Clues(look(7)))


def noise(seed: int) -> Frame:
    """A picture (180, 320, 3) unlike that of another seed."""
    return np.random.default_rng(seed).integers(0, 256, (9, 16, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
