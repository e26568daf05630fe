from __future__ import annotations

from dataclasses import replace

import numpy as np

from keysync.face.mesh import MeshReader
from training.evaluation.real.anchors import PATCH_WIDTH, Anchors
from training.evaluation.real.dubs import Scene


def test_a_patch_is_around_the_mouth_and_does_not_move_with_it(scene: Scene) -> None:
    squares, look = scene.anchors.patches, scene.source
    centres = np.array([(square.x, square.y) for square in squares])
    mouths = look.points[:, (13, 14), :2].mean(1)
    away = np.linalg.norm(centres - mouths, axis=1) / look.eyes
    assert away.max() < 0.25
    np.testing.assert_allclose([square.side for square in squares], PATCH_WIDTH * look.eyes, rtol=0.05)


def test_frames_without_a_face_have_no_anchor(scene: Scene, reader: MeshReader) -> None:
    clip = scene.clip
    person, landmarks = clip.track.person.copy(), clip.track.landmarks.copy()
    person[10:13], landmarks[10:13] = -1, np.nan
    track = replace(clip.track, person=person, landmarks=landmarks)
    anchors = Anchors.of(clip.pictures(), track, clip.frames, reader)
    assert np.flatnonzero(~anchors.seen).tolist() == [10, 11, 12]
    assert anchors.run.tolist() == [0] * 10 + [-1] * 3 + [1] * (clip.frames - 13)
