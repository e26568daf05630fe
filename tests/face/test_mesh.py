from __future__ import annotations

import numpy as np
import pytest
import torch

from keysync.demo import TALK
from keysync.face.finder.points import MESH_TO_68
from keysync.face.mesh import BATCH, MeshReader
from keysync.media.reader import open_video


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    frames = [frame for _, frame in open_video(TALK).frames()]
    return torch.from_numpy(np.stack(frames[: BATCH + 2]))


def test_the_mesh_agrees_with_the_finder(pictures: torch.Tensor) -> None:
    from keysync.face.detectors import make_detector

    meshes = MeshReader().read(pictures[:2])
    for number, picture in enumerate(pictures[:2].numpy()):
        (face,) = make_detector("mediapipe").detect(picture)
        size = np.ptp(face.landmarks[:, 0])
        apart = np.abs(meshes.points[number, list(MESH_TO_68), :2] - face.landmarks)
        assert apart.mean() < 0.02 * size
    assert meshes.confidence.min() > 0.9


def test_a_batch_gives_what_single_pictures_give(pictures: torch.Tensor) -> None:
    reader = MeshReader()
    together = reader.read(pictures)
    alone = reader.read(pictures[-1:])
    assert together.points.shape == (BATCH + 2, 468, 3)
    np.testing.assert_allclose(together.points[-1:], alone.points, atol=0.05)


def test_floats_and_bytes_are_the_same_pictures(pictures: torch.Tensor) -> None:
    reader = MeshReader()
    np.testing.assert_allclose(
        reader.read(pictures[:1]).points, reader.read(pictures[:1].float() / 255).points, atol=1e-3
    )


def test_a_known_place_needs_one_pass(pictures: torch.Tensor) -> None:
    reader = MeshReader()
    first = reader.read(pictures[:1])
    again = reader.read(pictures[:1], [first.place(0)])
    assert np.abs(again.points - first.points).mean() < 0.01 * np.ptp(first.points[0, :, 0])


def test_no_face_has_no_confidence() -> None:
    grey = torch.full((1, 256, 256, 3), 128, dtype=torch.uint8)
    assert MeshReader().read(grey).confidence[0] < 0.5
