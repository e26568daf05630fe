"""Which frames of a shot become references."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keysync.demo import TALK
from keysync.face.mesh import MeshReader
from keysync.media.reader import VideoReader
from keysync.systems.flashlips.person import KEPT, MOST_SEEN, Gallery, Person, Seen, choose, furthest


def seen(number: int, visible: float = 10.0) -> Seen:
    return Seen(number, torch.full((4, 4, 3), number % 256, dtype=torch.uint8), visible)


@pytest.mark.parametrize("frames", [1, 5, MOST_SEEN, MOST_SEEN + 1, 1000])
def test_a_gallery_keeps_some_frames_evenly_spread(frames: int) -> None:
    gallery = Gallery()
    for number in range(frames):
        if gallery.takes_next():
            gallery.add(seen(number))
    kept = [one.number for one in gallery.seen]
    assert min(frames, MOST_SEEN // 2) <= len(kept) <= MOST_SEEN
    assert kept[0] == 0
    assert len(set(np.diff(kept))) <= 1
    assert kept[-1] >= frames - max(1, 2 * frames // MOST_SEEN) - 1


def test_the_furthest_points_are_chosen() -> None:
    line = np.array([[0.0], [1.0], [5.0], [6.0], [10.0]])
    assert furthest(line, 3) == [2, 0, 4]
    assert sorted(furthest(line, 9)) == [0, 1, 2, 3, 4]
    assert sorted(furthest(np.zeros((3, 2)), 5)) == [0, 1, 2]


def test_a_frame_is_no_reference_of_itself() -> None:
    person = Person([30, 10, 20], torch.zeros(3, 4, 8, 8), torch.zeros(1, 12))
    assert person.references(7, 2) == (0, 1)
    assert person.references(30, 2) == (1, 2)
    assert person.references(20, 4) == (0, 1)
    assert Person([30], torch.zeros(1, 4, 8, 8), torch.zeros(1, 12)).references(30, 4) == (0,)


def test_references_differ_in_mouth_or_pose_and_are_in_view() -> None:
    """Of the demo's frames; a hand covers the mouth in half of them."""
    frames = [torch.from_numpy(frame) for _, frame in VideoReader(TALK).frames()][:64:8]
    crops = [Seen(number, frame, 100.0 if number % 2 else 50.0) for number, frame in enumerate(frames)]
    chosen = [one.number for one in choose(MeshReader(), crops)]
    assert len(set(chosen)) == len(chosen) == min(KEPT, 4)
    assert all(number % 2 for number in chosen)


def test_crops_are_kept_in_bytes() -> None:
    one = Seen.of(3, torch.full((2, 2, 3), 0.5), torch.ones(2, 2))
    assert (one.crop.dtype, one.visible) == (torch.uint8, 4.0)
    torch.testing.assert_close(one.picture, torch.full((2, 2, 3), 128 / 255))
