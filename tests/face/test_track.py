"""The track follows the chosen person within shots, bridges short misses, and smooths without lag or smear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keysync.errors import KeySyncError
from keysync.face.face import Face, Frame
from keysync.face.shots import ShotCounter
from keysync.face.track import TURNED, FaceChoice, FaceTrack, Tracker, from_landmarks, no_face

from ..synthetic_face import face, face_points

SHOTS = [
    np.random.default_rng(seed).integers(0, 256, (9, 16, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    for seed in (1, 2)
]


def track(
    faces: list[list[Face]], choice: FaceChoice | None = None, cut_at: int | None = None, exact: bool = False
) -> FaceTrack:
    tracker = Tracker(exact=exact)
    for frame, seen in enumerate(faces):
        tracker.add(SHOTS[cut_at is not None and frame >= cut_at], seen)
    return tracker.finish(choice)


def test_a_track_tells_where_the_face_is() -> None:
    result = track([[], [face()], [face()], []] + [[]] * 5)
    assert result.landmarks.shape == (9, 68, 2)
    assert result.found.tolist() == [False, True, True] + [False] * 6
    assert np.isnan(result.landmarks[0]).all()
    np.testing.assert_allclose(result.landmarks[1], face_points(), rtol=1e-5)
    assert result.size == (180, 320)
    assert result.runs() == [(1, 3)]
    assert result.faces.tolist() == [0, 1, 1] + [0] * 6


def test_no_face_at_all_is_a_track_without_runs() -> None:
    result = track([[], []])
    assert not result.found.any()
    assert result.runs() == []


def two_people(frame: int) -> list[Face]:
    """A small person on the left, a large one on the right who is first in every other frame."""
    pair = [face((60 + frame, 60), 30), face((220 - frame, 80), 50)]
    return pair[:: -1 if frame % 2 else 1]


@pytest.mark.parametrize(
    ("choice", "x"),
    [
        (None, 220),
        (FaceChoice(0), 220),
        (FaceChoice(1), 60),
        (FaceChoice(point=(62, 60)), 60),
        (FaceChoice(point=(100, 10)), 60),
        (FaceChoice(point=(300, 90)), 220),
    ],
)
def test_one_person_is_chosen_and_kept(choice: FaceChoice | None, x: float) -> None:
    result = track([two_people(frame) for frame in range(8)], choice)
    step = 1 if x == 60 else -1
    centres = result.landmarks[:, :17, 0].mean(1)
    np.testing.assert_allclose(centres, [x + step * frame for frame in range(8)], atol=0.5)
    assert len(set(result.person.tolist())) == 1
    assert (result.faces == 2).all()


def test_a_brief_large_face_does_not_win() -> None:
    faces = [[face((60, 60), 40), *([face((220, 80), 60)] if frame == 3 else [])] for frame in range(8)]
    assert track(faces).found.all()


def test_everybody_is_numbered_as_the_choice_counts() -> None:
    people = track([two_people(frame) for frame in range(3)] + [[face((60, 60), 30)]]).people
    assert [sorted(each) for each in people] == [[0, 1], [0, 1], [0, 1], [1]]
    for frame, each in enumerate(people):
        assert each[1] == face((60 + frame if frame < 3 else 60, 60), 30).box
    for index in (0, 1):
        landmarks = track([two_people(0)], FaceChoice(index)).landmarks[0]
        assert people[0][index] == (*landmarks.min(0).tolist(), *landmarks.max(0).tolist())
    assert track([[face()]], exact=True).people == ()


def test_the_second_largest_is_missing_where_a_shot_shows_one() -> None:
    result = track([two_people(0)] * 4 + [[face()]] * 4, FaceChoice(1), cut_at=4)
    assert result.found.tolist() == [True] * 4 + [False] * 4
    assert result.faces.tolist() == [2] * 4 + [1] * 4


def test_a_choice_that_no_shot_has_is_an_error() -> None:
    with pytest.raises(KeySyncError, match="face 2 was chosen but no shot shows more than 2: choose 0 to 1"):
        track([two_people(0)] * 3, FaceChoice(2))
    with pytest.raises(KeySyncError, match="face -1 does not exist: expected 0 for the largest face"):
        FaceChoice(-1)
    with pytest.raises(KeySyncError, match="the video has no frames"):
        Tracker().finish()


@pytest.mark.parametrize(("missed", "runs"), [(1, [(0, 9)]), (5, [(0, 13)]), (6, [(0, 4), (10, 14)])])
def test_short_misses_are_bridged_in_a_straight_line(missed: int, runs: list[tuple[int, int]]) -> None:
    n = 8 + missed
    faces = [[face((60 + 2 * frame, 60))] if not 4 <= frame < 4 + missed else [] for frame in range(n)]
    result = track(faces)
    assert result.runs() == runs
    filled = np.zeros(n, dtype=bool)
    filled[4 : 4 + missed] = missed <= 5
    assert np.array_equal(result.filled, filled)
    assert (result.confidence[result.filled] == 0).all()
    if missed <= 5:
        np.testing.assert_allclose(result.landmarks[:, 0, 0], [40 + 2 * frame for frame in range(n)], atol=0.01)


def test_no_miss_is_bridged_across_a_cut() -> None:
    faces = [[face()]] * 4 + [[]] * 2 + [[face()]] * 4
    result = track(faces, cut_at=5)
    assert result.shot.tolist() == [0] * 5 + [1] * 5
    assert result.runs() == [(0, 4), (6, 10)]
    assert not result.filled.any()


def test_jitter_is_smoothed_away() -> None:
    random = np.random.default_rng(0)
    noisy = [face_points() + random.normal(0, 0.25, (68, 2)).astype(np.float32) for _ in range(40)]
    result = track([[Face.of(points, 1.0)] for points in noisy])
    before = np.std(noisy, axis=0).mean()
    assert result.landmarks[3:-3].std(0).mean() < 0.65 * before


def test_steady_motion_is_followed_without_lag_and_a_jump_is_not_smeared() -> None:
    steady = track([[face((40 + 4 * frame, 60))] for frame in range(12)])
    np.testing.assert_allclose(steady.landmarks[:, 8, 0], [40 + 4 * frame for frame in range(12)], atol=0.01)
    jump = track([[face((60 if frame < 6 else 74, 60))] for frame in range(12)])
    np.testing.assert_allclose(jump.landmarks[:, 8, 0], [60] * 6 + [74] * 6, atol=0.2)


def test_nothing_is_smoothed_across_a_cut() -> None:
    result = track([[face((60, 60))]] * 5 + [[face((60.3, 60))]] * 5, cut_at=5)
    assert result.runs() == [(0, 5), (5, 10)]
    np.testing.assert_allclose(result.landmarks[:, 8, 0], [60] * 5 + [60.3] * 5, atol=1e-3)


def turned_face(degrees: float) -> Face:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return Face.of((face_points((0, 0)) @ turn + (100, 80)).astype(np.float32), 0.9)


@pytest.mark.parametrize(("degrees", "shown"), [(-45, True), (45, True), (55, False), (-55, False), (180, False)])
def test_a_head_that_is_turned_far_is_not_dubbed(degrees: float, shown: bool) -> None:
    result = track([[turned_face(degrees)]] * 4)
    assert (result.found == shown).all()
    assert (result.turned != shown).all()
    assert np.isnan(result.landmarks).all() != shown
    assert no_face(track([[face()]])) == "no face was found in the 1 frames"
    if not shown:
        assert (result.confidence == 0).all()
        assert result.why_not(0) == f"the head is {TURNED}"
        assert no_face(result) == f"no face was found in the 4 frames (4 show a head {TURNED})"


def test_frames_of_a_head_that_turns_are_told_apart() -> None:
    result = track([[turned_face(degrees)] for degrees in range(0, 97, 8)])
    assert result.runs() == [(0, 7)]
    assert result.turned[7:].all()
    given = from_landmarks([turned_face(90).landmarks], (180, 320))
    assert given.found.all()
    assert not given.turned.any()


class Watched:
    """A detector that says which faces it was told of."""

    def __init__(self) -> None:
        self.before: list[int] = []

    def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
        self.before.append(len(before))
        return [face()]

    def close(self) -> None:
        pass


def test_a_detector_knows_the_faces_of_the_frame_before_in_the_same_shot() -> None:
    tracker, detector = Tracker(), Watched()
    for shot in (0, 0, 0, 1, 1):
        tracker.follow(SHOTS[shot], detector)
    assert detector.before == [0, 1, 1, 0, 1]
    assert tracker.finish().runs() == [(0, 3), (3, 5)]


def test_given_landmarks_are_used_as_they_stand() -> None:
    random = np.random.default_rng(0)
    points = [None if frame == 3 else face_points((60 + random.normal(), 60)) for frame in range(7)]
    points[5] = face_points((250, 60))
    by_tracker = track([[] if given is None else [Face.of(given, 1.0)] for given in points], exact=True)
    direct = from_landmarks(points, (180, 320))
    for result in (by_tracker, direct):
        assert result.runs() == [(0, 3), (4, 7)]
        assert not result.filled.any()
        np.testing.assert_array_equal(result.landmarks[5], points[5])
        np.testing.assert_array_equal(result.landmarks[2], points[2])
    assert from_landmarks(points, (180, 320), shots=[0, 0, 1, 1, 1, 1, 1]).runs() == [(0, 2), (2, 3), (4, 7)]


def test_a_pan_is_no_cut() -> None:
    blobs = np.random.default_rng(3).integers(0, 256, (4, 40, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(blobs).resize((2400, 240), Image.Resampling.BICUBIC))
    corners = np.cumsum(np.minimum(2 * np.arange(60), 36)).tolist()
    counter = ShotCounter()
    assert {counter.add(wide[:, corner : corner + 320]) for corner in corners} == {0}
    jump = ShotCounter()
    assert [jump.add(wide[:, corner : corner + 320]) for corner in (0, 2, 4, 800, 802)] == [0, 0, 0, 1, 1]


def test_two_cuts_a_few_frames_apart_are_both_seen() -> None:
    counter = ShotCounter()
    assert [counter.add(SHOTS[shot]) for shot in (0, 0, 0, 1, 1, 1, 0, 0)] == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("clip", "cuts"),
    [
        ("facerec_hamilton_cuts_mic_profile_multi_640x360_2997.mp4", [20, 82, 211]),
        ("derived_hamilton_mic_hand_occlusion_512_2997.mp4", []),
        ("derived_intel_headpose_female-and-male_480x270_12p5.mp4", []),
        ("aniportrait_pose_ref_512_25fps.mp4", []),
        ("latentsync_demo1_1080x1920_25fps_hevc.mp4", []),
    ],
)
def test_cuts_of_real_clips(media: Path, clip: str, cuts: list[int]) -> None:
    import av

    counter = ShotCounter()
    with av.open(media / clip) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        shots = [counter.add(frame.astype(np.uint8, copy=False)) for frame in frames]
    assert (np.flatnonzero(np.diff(shots)) + 1).tolist() == cuts
