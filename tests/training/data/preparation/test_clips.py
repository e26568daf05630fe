"""Every frame of a video is in a clip or lost for a reason that is said."""

from __future__ import annotations

import numpy as np
import pytest

from tests.synthetic_face import face_points
from training.data.preparation.clips import NO_FACE, SOUND_ENDS, TOO_SHORT, find_clips, select
from training.data.preparation.faces import Faces
from training.data.preparation.stage import Discard


def faces(*shots: tuple[bool, int]) -> Faces:
    """Shots of (face or none, frames)."""
    seen = np.repeat([seen for seen, _ in shots], [frames for _, frames in shots])
    landmarks = np.where(seen[:, None, None], face_points(), np.nan).astype(np.float32)
    shot = np.repeat(np.arange(len(shots)), [frames for _, frames in shots])
    count = np.arange(len(seen))
    return Faces(count, count, landmarks, shot, (100, 100))


def test_all_of_it() -> None:
    found = find_clips(faces((True, 60)), 60)
    assert found.ranges == ((0, 60),)
    assert found.lost == {}


def test_what_is_lost_adds_up() -> None:
    found = find_clips(faces((True, 20), (False, 5), (True, 13), (True, 40), (True, 20)), 60)
    assert found.ranges == ((0, 20), (38, 60))
    assert found.lost == {
        NO_FACE: (5 / 25, "5 of 98 frames"),
        TOO_SHORT: (13 / 25, "visible for less than 14 frames (0.56 s)"),
        SOUND_ENDS: (38 / 25, "after 2.40 s"),
    }


def test_nothing_left() -> None:
    with pytest.raises(Discard) as caught:
        find_clips(faces((True, 13), (False, 7)), 20)
    assert {reason: seconds for reason, (seconds, _) in caught.value.losses.items()} == {
        NO_FACE: 7 / 25,
        TOO_SHORT: 13 / 25,
    }


RANGES = [(0, 20), (20, 50), (60, 75)]
LIMITS = {"speaker": (0.25, "not the speaker"), "quality": (20.0, "poor picture")}


def test_scores() -> None:
    scores = {"speaker": [0.5, 0.2, 0.25], "quality": [20.0, 3.0, float("nan")]}
    found = select(RANGES, scores, LIMITS)
    assert found.ranges == ((0, 20),)
    assert found.lost == {
        "not the speaker": (30 / 25, "1 of 3 clips: speaker 0.2, expected at least 0.25"),
        "poor picture": (15 / 25, "1 of 3 clips: quality nan, expected at least 20"),
    }


def test_without_scorers_all_are_kept() -> None:
    assert select(RANGES, {}, {}).ranges == tuple(RANGES)


def test_all_poor() -> None:
    with pytest.raises(Discard, match=r"not the speaker: 3 of 3 clips: speaker 0\.1 to 0\.2, expected at least 0\.25"):
        select(RANGES, {"speaker": [0.1, 0.2, 0.15]}, {"speaker": LIMITS["speaker"]})
