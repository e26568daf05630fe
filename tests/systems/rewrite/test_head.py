from __future__ import annotations

import numpy as np

from keysync.face.mouth import EYES
from keysync.systems.rewrite.head import Poses, make_reference

from .faces import opened, real_mesh, turned

ANGLES = np.array([[0.3, 0.0, 0.0], [0.0, -0.4, 0.1], [0.05, 0.1, -0.2]])


def test_a_reference_has_level_eyes_one_apart() -> None:
    reference = make_reference(np.stack([turned(real_mesh(), angles, 2.0) for angles in ANGLES]))
    first, second = reference[list(EYES)]
    np.testing.assert_allclose(second - first, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(first + second, 0, atol=1e-6)


def test_turned_heads_settle_on_one_another_and_go_back() -> None:
    reference = make_reference(real_mesh()[None])
    meshes = np.stack([turned(reference, angles, 0.5) for angles in ANGLES])
    poses = Poses.of(meshes, reference)
    settled = poses.settle(meshes)
    np.testing.assert_allclose(settled, np.broadcast_to(reference, settled.shape), atol=1e-6)
    np.testing.assert_allclose(poses.place(settled), meshes, atol=1e-6)
    np.testing.assert_allclose(poses.angles, -ANGLES, atol=1e-6)
    np.testing.assert_allclose(poses.scale, 2.0, atol=1e-6)


def test_an_open_mouth_is_no_other_pose() -> None:
    reference = make_reference(real_mesh()[None])
    shut, wide = (Poses.of(opened(gap)[None], reference) for gap in (0.0, 0.3))
    np.testing.assert_allclose(shut.turn, wide.turn)
    np.testing.assert_allclose(shut.shift, wide.shift)


def test_a_mirrored_mesh_is_never_a_turn() -> None:
    reference = make_reference(real_mesh()[None])
    poses = Poses.of((reference * np.array([1, 1, -1]))[None], reference)
    np.testing.assert_allclose(np.linalg.det(poses.turn), 1)
