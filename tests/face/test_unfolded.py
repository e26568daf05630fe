"""The unfolded face: texels stay on the skin, and masks come back to the pixels they are from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keysync.face.unfolded import COLUMNS, ROWS, STEADY, Similarity, Unfolding, texels
from keysync.face.usual import Usual, relit
from training.synthetic.render.camera import Pose
from training.synthetic.render.identity import Identity
from training.synthetic.render.mouth import MouthShape
from training.synthetic.render.portrait import Portrait
from training.synthetic.render.scene import Truth
from training.synthetic.render.shot import render

EVERYWHERE = np.ones((ROWS, COLUMNS), np.bool_)


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    """One person: at rest, with an open mouth, turned, tilted."""
    portrait = Portrait(Identity.sample(np.random.default_rng(3)))
    poses = [(Pose(), 0.0), (Pose(), 0.7), (Pose(yaw=0.25), 0.2), (Pose(roll=0.4), 0.1)]
    return [render(portrait, pose, MouthShape(open=gap), (256, 256)) for pose, gap in poses]


@pytest.fixture(scope="module")
def unfolding(truths: list[Truth]) -> Unfolding:
    return Unfolding.of(np.stack([truth.landmarks for truth in truths]))


def test_the_similarity_goes_there_and_back(truths: list[Truth]) -> None:
    for truth in truths:
        similarity = Similarity.of(truth.landmarks)
        shape = similarity.to_shape(truth.landmarks.astype(np.float64))
        back = similarity.turned(shape) + np.array([similarity.c, similarity.d])
        assert np.allclose(back, truth.landmarks, atol=1e-3)
        # In millimetres of a mean face: the eyes are above 0.
        assert shape[STEADY].std() > 10
        assert shape[36:48, 1].mean() == pytest.approx(-28, abs=5)


def test_texels_stay_on_the_skin(truths: list[Truth], unfolding: Unfolding) -> None:
    """The corners of the mouth, the tip of the nose and the chin are at the same texels in each pose."""
    shape = unfolding.shape
    for truth in truths:
        places = unfolding.places(truth.landmarks)
        scale = Similarity.of(truth.landmarks).scale
        for point in (30, 48, 54):
            nearest = np.linalg.norm(texels() - shape[point], axis=-1).argmin()
            away = np.linalg.norm(places.reshape(-1, 2)[nearest] - truth.landmarks[point]) / scale
            assert away < 4, point  # mm; texels are 1.4 mm apart


def test_a_mask_comes_back_to_its_pixels(truths: list[Truth], unfolding: Unfolding) -> None:
    for truth in truths:
        places = unfolding.places(truth.landmarks)
        x, y = places[40:70, 30:80].mean((0, 1))
        rows, columns = np.mgrid[0:256, 0:256] + 0.5
        disc = np.hypot(columns - x, rows - y) < 18
        texture, _ = unfolding.texture(np.repeat(disc[..., None].astype(np.uint8) * 255, 3, -1), truth.landmarks)
        back = unfolding.fold(torch.from_numpy(texture[..., 0] / 255), truth.landmarks, (256, 256)) > 0.5
        assert (back & disc).sum() / (back | disc).sum() > 0.9


def test_what_the_frame_cuts_off_is_not_shown(truths: list[Truth], unfolding: Unfolding) -> None:
    truth = truths[0]
    _, shown = unfolding.texture(truth.picture[:, :128], truth.landmarks)
    assert 0.3 < shown.mean() < 0.7
    assert shown[:, 0].all()
    assert not shown[:, -1].any()


def test_a_turned_head_hides_its_far_cheek(truths: list[Truth], unfolding: Unfolding) -> None:
    portrait = Portrait(Identity.sample(np.random.default_rng(3)))
    assert not unfolding.turned_away(truths[0].landmarks)[20:90].any()
    for yaw, far, middle in ((0.7, slice(60, COLUMNS), slice(66, 78)), (-0.7, slice(0, 60), slice(42, 54))):
        away = unfolding.turned_away(render(portrait, Pose(yaw=yaw), MouthShape(), (256, 256)).landmarks)
        assert away[30:90, far].mean() > 0.15
        assert away[30:90, far].sum() > 0.9 * away[30:90].sum()
        assert away[:60, middle].any()
    # A mouth that opens or rounds turns nothing away.
    for mouth in (MouthShape(open=0.9), MouthShape(round=0.9)):
        assert not unfolding.turned_away(render(portrait, Pose(), mouth, (256, 256)).landmarks)[20:90, 30:90].any()


def test_a_hand_that_moves_the_points_of_the_jaw_turns_nothing_away(truths: list[Truth], unfolding: Unfolding) -> None:
    points = truths[0].landmarks.copy()
    points[3:14] += 0.3 * (points[30] - points[3:14]) * np.array([0, 1], np.float32)
    assert not unfolding.turned_away(points).any()


def test_light_is_no_difference(truths: list[Truth], unfolding: Unfolding) -> None:
    truth = truths[0]
    texture, _ = unfolding.texture(truth.picture, truth.landmarks)
    usual = Usual.of(np.stack([texture] * 3), np.stack([EVERYWHERE] * 3))
    darker = texture * np.linspace(0.6, 0.8, COLUMNS)[:, None].astype(np.float32)
    even, told = relit(darker, usual, EVERYWHERE)
    assert told
    assert np.abs(even - texture).mean() < 3 < np.abs(darker - texture).mean()
    _, told = relit(texture, usual, ~EVERYWHERE)
    assert not told


def test_the_usual_look_needs_three_frames_of_a_texel(truths: list[Truth], unfolding: Unfolding) -> None:
    texture, _ = unfolding.texture(truths[0].picture, truths[0].landmarks)
    free = np.stack([EVERYWHERE] * 4)
    free[:2, :50] = False
    usual = Usual.of(np.stack([texture] * 4), free)
    assert not usual.known[:50].any()
    assert usual.known[50:].all()
    assert np.isfinite(usual.colour).all()
    assert (usual.spread > 0).all()
