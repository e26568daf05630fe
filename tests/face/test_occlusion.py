"""What covers a mouth is found in the clip itself, and nothing is found where nothing does."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.dub import Occluder
from keysync.face.occlusion import FoundOccluder, Patch, find_occluder, lasting
from keysync.face.occlusion_network import WEIGHTS, occlusion_network
from keysync.face.occlusion_sam2 import LONGEST, episodes, follow_found, points_in
from keysync.face.track import from_landmarks
from keysync.face.unfolded import COLUMNS, ROWS
from keysync.media.source import FramesInMemory
from training.synthetic.measure.occlusion import SIZE, clip, found_in
from training.synthetic.render.scene import Truth

from ..tiny_sam2 import tiny_sam2

FRAMES = 24
EVERYWHERE = np.ones((ROWS, COLUMNS), np.bool_)


def find(truths: list[Truth]) -> FoundOccluder:
    """With the true points, without a detector."""
    source = FramesInMemory("clip", np.stack([truth.picture for truth in truths]), Fraction(25))
    return find_occluder(source, source.timestamps(), from_landmarks([truth.landmarks for truth in truths], SIZE))


@pytest.fixture(scope="module")
def cup() -> list[Truth]:
    return clip(2, "cup", FRAMES)


@pytest.fixture(scope="module")
def found(cup: list[Truth]) -> FoundOccluder:
    return find(cup)


def square(value: float, row: int = 40, column: int = 40, side: int = 12) -> NDArray[np.float32]:
    chances = np.zeros((ROWS, COLUMNS), np.float32)
    chances[row : row + side, column : column + side] = value
    return chances


@pytest.mark.parametrize(("kind", "least"), [("hand", 0.6), ("microphone", 0.75), ("cup", 0.75)])
def test_what_covers_the_mouth_is_found(kind: str, least: float) -> None:
    """In a short clip, with few frames that show the whole mouth."""
    found, true = found_in(clip(1, kind, FRAMES))
    assert true.any()
    assert (found & true).sum() / (found | true).sum() > least


@pytest.mark.parametrize("kind", ["talking", "light changing"])
def test_nothing_is_found_on_a_free_mouth(kind: str) -> None:
    found, true = found_in(clip(1, kind, FRAMES))
    assert not true.any()
    assert not found.any()


def test_the_masks_are_frames_of_a_source(cup: list[Truth], found: FoundOccluder) -> None:
    opened = Occluder.open(found, SIZE[1], SIZE[0], FRAMES)
    numbers = [found.numbers[0], 0, found.numbers[-1]]
    for number, picture in zip(numbers, opened.pick(numbers), strict=True):
        assert picture.shape == (*SIZE, 3)
        assert picture.dtype == np.uint8
        assert np.array_equal(picture[..., 0] > 0, found.mask(number))
    assert [stamp for stamp, _ in found.frames()] == found.timestamps().tolist()
    assert found.fingerprint() == find(cup).fingerprint()
    assert found.fingerprint() != find(cup[::-1]).fingerprint()


def test_the_notes_say_where(cup: list[Truth], found: FoundOccluder) -> None:
    first, last = found.numbers[0], found.numbers[-1]
    assert list(found.notes()) == [
        f"occluders: something covers the mouth in {len(found.numbers)} of {FRAMES} frames: {first}-{last}"
    ]
    free = [truth for truth in cup if not truth.occluder.any()]
    assert list(find(free).notes()) == [
        f"occluders: nothing covers the mouth in the {len(free)} frames that show the face"
    ]


def test_one_that_is_nearly_always_there_is_said(found: FoundOccluder) -> None:
    many = FoundOccluder(FramesInMemory("clip", np.zeros((4, 8, 8, 3), np.uint8), Fraction(25)), np.arange(4), 4)
    for number in range(4):
        many.add(number, Patch.of(np.ones((2, 3), np.bool_), 5, 4))
    assert many.mask(2).sum() == 6
    assert many.mask(2)[5:7, 4:7].all()
    assert "few frames show the whole mouth" in list(many.notes())[1]


def test_what_never_leaves_is_no_difference(cup: list[Truth]) -> None:
    """Of a clip in which the same cup stands before the mouth in every frame, nothing tells what it is."""
    middle = next(number for number, truth in enumerate(cup) if truth.occluder[150:200].sum() > 1500)
    still = find([cup[middle]] * 5)
    assert still.numbers == []
    assert "part of the face looks covered throughout frames 0-4" in list(still.notes())[-1]


def kept(*frames: tuple[int, NDArray[np.float32]], face: NDArray[np.bool_] = EVERYWHERE) -> dict[int, Any]:
    black = np.zeros((8, 8, 3), np.uint8)
    searched = ((number, black, chances) for number, chances in frames)
    return {number: chances for number, _, chances in lasting(searched, face)}


def test_what_is_there_for_one_frame_is_no_thing() -> None:
    thing, other = square(0.9), square(0.9, 80, 80)
    frames = [square(0), thing, thing + other, square(0), other, square(0)]
    things = kept(*enumerate(frames))
    assert sorted(things) == [1, 2]
    assert (things[2][80:92, 80:92] == 0).all()
    assert (things[2][40:52, 40:52] > 0).all()
    # A frame whose neighbours do not show the face is not judged by them.
    assert sorted(kept((3, thing), (9, other))) == [3, 9]


def test_what_is_beside_the_face_is_no_thing() -> None:
    face = EVERYWHERE.copy()
    face[:, :60] = False
    assert kept((0, square(0.9)), face=face) == {}
    assert sorted(kept((0, square(0.9, column=54)), face=face)) == [0]


def test_sure_texels_spread_to_likely_ones_only() -> None:
    likely, unlikely = square(0.6, side=20), square(0.3, side=20)
    assert kept((0, likely)) == {}
    seeded = np.maximum(likely, square(0.9, 45, 45, 5))
    assert (kept((0, seeded))[0][40:60, 40:60] > 0).all()
    assert (kept((0, np.maximum(unlikely, square(0.9, 45, 45, 5))))[0] > 0.5).sum() == 25
    assert kept((0, square(0.9, side=3))) == {}


def test_the_network_is_small() -> None:
    assert WEIGHTS.stat().st_size < 60_000
    assert occlusion_network() is occlusion_network()
    assert sum(parameter.numel() for parameter in occlusion_network().parameters()) < 50_000


def test_episodes_are_of_neighbours() -> None:
    assert list(episodes([])) == []
    assert list(episodes([3, 4, 5, 9, 11, 12])) == [(3, 6), (9, 10), (11, 13)]
    spans = list(episodes(list(range(2 * LONGEST + 1))))
    assert spans == [(0, LONGEST), (LONGEST, 2 * LONGEST), (2 * LONGEST, 2 * LONGEST + 1)]


def test_points_are_inside(found: FoundOccluder) -> None:
    for _, mask in found.masks():
        for x, y in points_in(mask):
            assert mask[int(y), int(x)]
    two = np.zeros((40, 40), np.bool_)
    two[4:9, 4:9] = two[20:31, 20:31] = True
    assert points_in(two) == [(25, 25), (6, 6)]


def test_sam2_follows_what_is_found(cup: list[Truth], found: FoundOccluder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of random weights sees nothing of it: the masks stay those that were found."""
    images = torch.from_numpy(np.stack([truth.picture for truth in cup])).float() / 255
    followed = dict(follow_found(tiny_sam2(), images, found))
    assert sorted(followed) == found.numbers
    for number, mask in followed.items():
        assert mask.shape == SIZE
        assert (mask >= found.mask(number)).all()

    def whole(model: object, frames: object, prompt: object) -> list[tuple[int, torch.Tensor]]:
        assert prompt.points  # type: ignore[attr-defined]
        larger = torch.nn.functional.max_pool2d
        return [
            (n, larger(torch.from_numpy(found.mask(found.numbers[0] + n))[None].float(), 3, 1, 1)[0] > 0)
            for n in range(len(frames))  # type: ignore[arg-type]
        ]

    monkeypatch.setattr("keysync.face.occlusion_sam2.track_occluder", whole)
    grown = dict(follow_found(None, images, found))
    assert all(mask.sum() > found.mask(number).sum() for number, mask in grown.items())
