"""A face mesh of a mouth that opens, and pictures that have its points where their colours say."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.demo import TALK
from keysync.face.mesh import MeshReader
from keysync.media.reader import open_video
from keysync.systems.rewrite.points import LOWER_INNER, LOWER_OUTER


@cache
def real_mesh() -> NDArray[np.float64]:
    """The mesh (468, 3) of the rendered person's first frame."""
    _, frame = next(open_video(TALK).frames())
    mesh: NDArray[np.float64] = MeshReader().read(torch.from_numpy(frame)[None]).points[0].astype(np.float64)
    return mesh


def opened(gap: float) -> NDArray[np.float64]:
    """The mesh with its lower lip moved down by `gap` eye distances."""
    mesh = real_mesh().copy()
    eyes = np.linalg.norm(mesh[33] - mesh[263])
    mesh[[*LOWER_INNER, *LOWER_OUTER], 1] += gap * eyes
    return mesh


def turned(mesh: NDArray[np.float64], angles: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """A mesh turned by a rotation vector (3,) in radians, scaled and moved."""
    angle = float(np.linalg.norm(angles))
    x, y, z = angles / max(angle, 1e-9)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    moved: NDArray[np.float64] = scale * mesh @ turn.T + np.array([5.0, -7.0, 2.0])
    return moved
