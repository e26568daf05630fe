"""The built-in face finder finds what MediaPipe finds, to a fraction of a pixel, and faces turned by any angle."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from keysync.face.face import Face, Frame
from keysync.face.finder import finder as module
from keysync.face.finder.finder import FaceFinder, without_doubles

from ...oracle import RECORD, pictures
from ...portrait import PORTRAIT, portrait_frames
from ...synthetic_face import face

RECORDED: dict[str, list[dict[str, Any]]] = json.loads(RECORD.read_text())
PICTURES = pictures()
# A face crop of 256 pixels, of the published scale, shows the face 128 pixels wide.
FACE_IN_CROP = 128


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def portrait() -> Frame:
    with Image.open(PORTRAIT) as file:
        return np.asarray(file.convert("RGB"))


def deviation(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """By how much each point is off, in pixels of a face crop of 256 pixels."""
    distances: NDArray[np.float64] = np.linalg.norm(found - expected, axis=-1)
    return distances * FACE_IN_CROP / float(np.ptp(expected, axis=0).max())


@pytest.mark.parametrize("name", PICTURES)
def test_it_finds_what_mediapipe_finds(finder: FaceFinder, name: str) -> None:
    found, expected = finder.detect(PICTURES[name]), RECORDED[name]
    assert len(found) == len(expected) > 0
    for one in found:
        off = [deviation(one.landmarks, np.array(row["landmarks"])).max() for row in expected]
        nearest = expected[int(np.argmin(off))]
        assert min(off) < 0.5
        assert one.confidence == pytest.approx(nearest["confidence"], abs=0.02)


def test_frames_go_through_the_networks_together(finder: FaceFinder) -> None:
    together = finder.detect_all(list(PICTURES.values()))
    for faces, picture in zip(together, PICTURES.values(), strict=True):
        alone = finder.detect(picture)
        assert len(faces) == len(alone)
        for one, other in zip(faces, alone, strict=True):
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.02)


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_a_face_turned_by_any_angle_is_found_upright(finder: FaceFinder, portrait: Frame, angle: int) -> None:
    (upright,) = finder.detect(portrait)
    turned = Image.fromarray(portrait).rotate(-angle, Image.Resampling.BICUBIC, expand=True)
    (found,) = finder.detect(np.asarray(turned))
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    middle = np.array(portrait.shape[1::-1]) / 2
    expected = (upright.landmarks - middle) @ np.array([[c, s], [-s, c]]) + np.array(turned.size) / 2
    assert deviation(found.landmarks, expected).mean() < 4


def test_a_face_is_followed_without_a_search(finder: FaceFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = list(portrait_frames(2 * module.SEARCH_EVERY))
    searches = []
    search = finder._search

    def watched(*given: Any) -> Any:
        searches.append(1)
        return search(*given)

    monkeypatch.setattr(finder, "_search", watched)
    before: list[Face] = []
    for frame in frames:
        before = finder.detect(frame, before)
        (alone,) = search([torch.tensor(frame)], [[]])
        assert len(before) == 1
        # The mesh's place comes from its own points instead of a detection: MediaPipe's tracking differs as much.
        assert deviation(before[0].landmarks, alone[0].landmarks).mean() < 2
    assert len(searches) == 2


def test_a_face_that_is_gone_is_searched_for(finder: FaceFinder, portrait: Frame) -> None:
    before = finder.detect(portrait)
    moved = np.full((480, 640, 3), 90, dtype=np.uint8)
    moved[200:456, 300:600] = portrait[:256, 100:400]
    (found,) = finder.detect(moved, before)
    np.testing.assert_allclose(found.landmarks, before[0].landmarks + np.array([200, 200]), atol=3)
    assert finder.detect(np.zeros_like(portrait), before) == []


def test_somebody_who_comes_in_is_seen(finder: FaceFinder) -> None:
    both = PICTURES["twice"]
    one = both.copy()
    one[:, 380:] = 40
    before = finder.detect(one)
    assert len(before) == 1
    seen = []
    for _ in range(module.SEARCH_EVERY):
        before = finder.detect(both, before)
        seen.append(len(before))
    assert seen[-1] == 2
    assert seen[0] == 1


def test_noise_and_tiny_frames_show_no_face(finder: FaceFinder) -> None:
    random = np.random.default_rng(0)
    for size in ((120, 160), (1, 1), (3, 500), (720, 16)):
        assert finder.detect(random.integers(0, 256, (*size, 3), dtype=np.uint8)) == []


def test_a_picture_that_nobody_may_write_to_stays_as_it_is(finder: FaceFinder, portrait: Frame) -> None:
    portrait = portrait.copy()
    portrait.flags.writeable = False
    kept = portrait.copy()
    assert len(finder.detect(portrait)) == 1
    np.testing.assert_array_equal(portrait, kept)


def test_the_weights_are_small_and_carry_their_licence() -> None:
    folder = module.WEIGHTS.parent
    assert module.WEIGHTS.stat().st_size <= 6_000_000
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "MediaPipe" in (folder / "NOTICE").read_text()


def test_of_faces_on_top_of_each_other_the_surest_stays() -> None:
    faces = [face((60, 60), 40, 0.7), face((62, 60), 40, 0.9), face((200, 60), 40, 0.6)]
    assert without_doubles(faces) == [faces[1], faces[2]]


@pytest.mark.parametrize(
    ("clip", "least"),
    [
        ("derived_hamilton_mic_hand_occlusion_512_2997.mp4", 1.0),
        ("facerec_hamilton_cuts_mic_profile_multi_640x360_2997.mp4", 0.85),
    ],
)
def test_it_finds_faces_in_real_clips(finder: FaceFinder, media: Path, clip: str, least: float) -> None:
    import av

    with av.open(media / clip) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = [frame.astype(np.uint8, copy=False) for frame in decoded[::10]]
    assert sum(map(bool, finder.detect_all(frames))) / len(frames) >= least
