from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.media.reader import VideoReader
from training.synthetic.render.identity import Identity
from training.synthetic.render.mouth import MouthShape
from training.synthetic.render.occluder import OCCLUDERS
from training.synthetic.render.scene import Truth
from training.synthetic.render.world import Clip, clip, read_truth, write_clip

SMALL = (128, 128)
TALK = [MouthShape(open=0.5 + 0.5 * float(np.sin(frame))) for frame in range(12)]


def clips(seed: int, **options: object) -> list[Truth]:
    return list(clip(seed, TALK, Clip(size=SMALL, **options)))  # type: ignore[arg-type]


def test_a_seed_gives_the_same_pixels_and_another_seed_others() -> None:
    first, again, other = (clips(seed, occluder="hand") for seed in (1, 1, 2))

    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.picture, two.picture)
        np.testing.assert_array_equal(one.landmarks, two.landmarks)
        np.testing.assert_array_equal(one.occluder, two.occluder)
    assert (first[0].picture != other[0].picture).mean() > 0.5


def test_other_mouths_in_the_same_world_change_the_lower_face_alone() -> None:
    talking = clips(3)
    silent = list(clip(3, [MouthShape()] * len(TALK), Clip(size=SMALL)))

    for one, two in zip(talking, silent, strict=True):
        above = int(min(one.landmarks[27, 1], two.landmarks[27, 1]))
        np.testing.assert_array_equal(one.picture[:above], two.picture[:above])
    assert any((one.picture != two.picture).any() for one, two in zip(talking, silent, strict=True))


def test_each_frame_has_the_mouth_it_was_given() -> None:
    for truth, mouth in zip(clips(4), TALK, strict=True):
        assert truth.mouth == mouth
        assert truth.picture.shape == (*SMALL, 3)
        assert truth.picture.dtype == np.uint8
        assert not truth.occluder.any()
    openings = [truth.opening for truth in clips(4)]
    assert np.corrcoef(openings, [mouth.open for mouth in TALK])[0, 1] > 0.99


@pytest.mark.parametrize("name", OCCLUDERS)
def test_an_occluder_hides_the_mouth_in_its_share_of_the_frames(name: str) -> None:
    free, hidden = clips(5), clips(5, occluder=name, occluded=0.6)
    hit = []
    for one, two in zip(free, hidden, strict=True):
        np.testing.assert_array_equal(one.landmarks, two.landmarks)
        x, y = two.landmarks[48:].mean(0).astype(int)
        hit.append(bool(two.occluder[y - 4 : y + 5, x - 6 : x + 7].mean() > 0.3))
        # What it covers looks otherwise; far from it and its shadow all is as before.
        if two.occluder.any():
            assert np.abs(one.picture.astype(int) - two.picture)[two.occluder].mean() > 12
    assert 2 <= sum(hit) <= 8
    assert not hidden[0].occluder.any() or not hidden[-1].occluder.any()


def test_shots_show_other_people() -> None:
    truths = clips(6, shots=3)

    assert [truth.shot for truth in truths] == [0] * 4 + [1] * 4 + [2] * 4
    changes = [np.abs(a.picture.astype(int) - b.picture).mean() for a, b in pairwise(truths)]
    assert sorted(np.argsort(changes)[-2:].tolist()) == [3, 7]


@pytest.mark.parametrize("kind", ["empty", "away"])
def test_faceless_frames_have_no_points(kind: str) -> None:
    truths = clips(7, shots=2, faceless=kind, faceless_share=0.3)
    seen = np.array([np.isfinite(truth.landmarks).all() for truth in truths])

    assert seen[0]
    assert seen[-1]
    assert 2 <= (~seen).sum() <= 5
    assert all(np.isnan(truth.landmarks).all() and np.isnan(truth.opening) for truth in np.array(truths)[~seen])


def test_of_two_people_the_larger_speaks_and_the_other_is_silent() -> None:
    truths = list(clip(8, TALK, Clip(size=(128, 192), people=2)))

    for truth in truths:
        (other,) = truth.others
        assert np.ptp(truth.landmarks[:, 0]) > 1.15 * np.ptp(other[:, 0])
        assert np.linalg.norm(other[62] - other[66]) < 0.5
        assert truth.landmarks[:, 0].max() < other[:, 0].min()


def test_a_person_can_be_chosen() -> None:
    person = Identity.sample(np.random.default_rng(99))
    chosen, other = clips(9, person=person), clips(9)

    np.testing.assert_array_equal(chosen[0].picture[0, 0], other[0].picture[0, 0])
    assert (chosen[0].picture != other[0].picture).mean() > 0.1


def test_a_clip_is_written_with_its_truth(tmp_path: Path) -> None:
    truths = clips(10, shots=2, faceless="empty", occluder="microphone")

    path = write_clip(tmp_path / "clip.mp4", truths)

    frames = [frame for _, frame in VideoReader(path).frames()]
    assert len(frames) == len(truths)
    errors = [np.abs(a.astype(int) - b.picture).mean() for a, b in zip(frames, truths, strict=True)]
    assert max(errors) < 4
    table = read_truth(path.with_suffix(".npz"))
    np.testing.assert_array_equal(table["landmarks"], [truth.landmarks for truth in truths])
    np.testing.assert_array_equal(table["occluder"], [truth.occluder for truth in truths])
    np.testing.assert_array_equal(table["mouth"][:, 0], np.array([mouth.open for mouth in TALK], np.float32))
    assert table["opening"].tolist() == pytest.approx([truth.opening for truth in truths], rel=1e-6, nan_ok=True)


def test_impossible_wishes_are_answered() -> None:
    with pytest.raises(KeySyncError, match="unknown occluder 'cat': choose from hand, microphone, none"):
        Clip(occluder="cat")
    with pytest.raises(KeySyncError, match="0 shots of 1 people"):
        Clip(shots=0)
    with pytest.raises(KeySyncError, match="unknown faceless shot 'dark'"):
        Clip(faceless="dark")
    with pytest.raises(KeySyncError, match="2 frames for 3 shots"):
        list(clip(0, TALK[:2], Clip(shots=3)))


def test_nothing_is_written_of_no_frames(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="there are no frames"):
        write_clip(tmp_path / "none.mp4", [])
    assert not list(tmp_path.iterdir())
