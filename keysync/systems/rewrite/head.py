"""A head in a reference pose: face meshes without the turn, the size and the place of the head.

Meshes are (n, 468, 3) as `face.mesh` gives them. A reference is a mesh (468, 3) whose outer eye corners are 1 apart and
level, with the middle between them at the origin: in its coordinates, lengths are in eye distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...face.mouth import EYES

Meshes = NDArray[np.float64]

# Points that neither speech nor looks move: forehead, temples, bridge of the nose, eye corners, cheekbones.
# fmt: off
STILL = (
    10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 33, 133, 362, 263, 127, 356, 234, 454, 109, 338, 67, 297, 103, 332, 54, 284,
    21, 251, 162, 389, 116, 345, 117, 346, 118, 347,
)
# fmt: on
# Rounds of averaging for a reference.
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Poses:
    """How n heads stand to a reference: `scale` (n,), `turn` (n, 3, 3), `shift` (n, 3)."""

    scale: NDArray[np.float64]
    turn: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, meshes: NDArray[np.floating[Any]], reference: Meshes) -> Poses:
        """The similarities that bring the still points of meshes (n, 468, 3) onto those of the reference."""
        own, goal = meshes[:, STILL].astype(np.float64), reference[list(STILL)]
        own_middle, middle = own.mean(1, keepdims=True), goal.mean(0)
        own = own - own_middle
        goal = goal - middle
        u, s, v = np.linalg.svd(np.einsum("ki,nkj->nij", goal, own))
        flip = np.where(np.linalg.det(u @ v) < 0, -1, 1)
        s[:, 2] *= flip
        u[:, :, 2] *= flip[:, None]
        turn = u @ v
        scale = s.sum(1) / (own**2).sum((1, 2))
        shift = middle - scale[:, None] * np.einsum("nij,nj->ni", turn, own_middle[:, 0])
        return cls(scale, turn, shift)

    def of_one(self, number: int) -> Poses:
        """The pose of one of the heads."""
        return Poses(self.scale[[number]], self.turn[[number]], self.shift[[number]])

    def settle(self, meshes: NDArray[np.floating[Any]]) -> Meshes:
        """The meshes (n, k, 3) in the reference pose."""
        settled: Meshes = self.scale[:, None, None] * meshes @ self.turn.transpose(0, 2, 1) + self.shift[:, None]
        return settled

    def place(self, settled: Meshes) -> Meshes:
        """Settled meshes (n, k, 3) back where the heads are."""
        placed: Meshes = (settled - self.shift[:, None]) @ self.turn / self.scale[:, None, None]
        return placed

    @property
    def angles(self) -> NDArray[np.float64]:
        """The turns as rotation vectors (n, 3) in radians."""
        cosine = np.clip((np.trace(self.turn, axis1=1, axis2=2) - 1) / 2, -1, 1)
        angle = np.arccos(cosine)
        skew = (self.turn - self.turn.transpose(0, 2, 1))[:, (2, 0, 1), (1, 2, 0)] / 2
        vectors: NDArray[np.float64] = skew / np.maximum(np.sinc(angle / np.pi), 1e-3)[:, None]
        return vectors


def make_reference(meshes: NDArray[np.floating[Any]]) -> Meshes:
    """The median of meshes (n, 468, 3) of one person in a common pose: a reference."""
    wide: Meshes = meshes.astype(np.float64)
    depth = np.abs(wide[:, EYES[0], 2] - wide[:, EYES[1], 2]) / _eye_distance(wide)
    reference = _upright(wide[int(np.argmin(depth))])
    for _ in range(ROUNDS):
        reference = _upright(np.median(Poses.of(wide, reference).settle(wide), axis=0))
    return reference


def _eye_distance(meshes: Meshes) -> NDArray[np.float64]:
    apart: NDArray[np.float64] = np.linalg.norm(meshes[:, EYES[0]] - meshes[:, EYES[1]], axis=-1)
    return apart


def _upright(mesh: Meshes) -> Meshes:
    """A mesh (468, 3) with level eyes 1 apart and their middle at the origin."""
    first, second = mesh[EYES[0]], mesh[EYES[1]]
    across, middle = second - first, (first + second) / 2
    size = float(np.linalg.norm(across))
    x = across / size
    y = np.array([0.0, 1.0, 0.0]) - x[1] * x
    y /= np.linalg.norm(y)
    axes = np.stack([x, y, np.cross(x, y)])
    upright: Meshes = (mesh - middle) @ axes.T / size
    return upright
