"""68 points of a face that no detector is needed for, shared by the tests of track, crop, masks and compose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import Face


def face_points(centre: tuple[float, float] = (50.0, 60.0), width: float = 40.0) -> NDArray[np.float32]:
    """iBUG's 68 points of an upright face as wide as `width`, a little taller, around `centre` (x, y)."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([np.cos(turn), np.sin(turn) * 1.3 - 0.2], axis=1)
    brows = np.stack([np.r_[np.linspace(-0.8, -0.2, 5), np.linspace(0.2, 0.8, 5)], np.full(10, -0.55)], axis=1)
    nose = np.stack(
        [np.r_[np.zeros(4), np.linspace(-0.2, 0.2, 5)], np.r_[np.linspace(-0.3, 0.2, 4), np.full(5, 0.3)]], 1
    )
    eyes = np.stack([np.r_[np.linspace(-0.6, -0.3, 6), np.linspace(0.3, 0.6, 6)], np.full(12, -0.3)], axis=1)
    turn = np.linspace(np.pi, 3 * np.pi, 20)
    lips = np.stack([0.35 * np.cos(turn), 0.6 + 0.12 * np.sin(turn)], axis=1)
    shape = np.concatenate([jaw, brows, nose, eyes, lips]) * width / 2
    return (shape + centre).astype(np.float32)


def face(centre: tuple[float, float] = (50.0, 60.0), width: float = 40.0, confidence: float = 0.9) -> Face:
    return Face.of(face_points(centre, width), confidence)
