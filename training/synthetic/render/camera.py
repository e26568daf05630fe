"""The pose of a head and the camera.

Camera axes: x right, y down, z towards the viewer, in mm. Pixel coordinates are continuous: (0, 0) is the corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DISTANCE = 1300.0  # mm from the camera to the head
PIVOT = np.array([0.0, 72.0, -14.0])  # where the head turns on the neck


@dataclass(frozen=True)
class Pose:
    """The pose of a person in one frame, except the mouth: angles in radians, shifts in mm.

    yaw > 0 turns the face to the viewer's right, pitch > 0 lowers the chin, roll > 0 tilts clockwise; gaze relative to
    an eye's width and height; blink 0 open .. 1 shut; brows in mm above rest, frown in mm by which their inner ends are
    lowered; widened: the share by which the eyes are opened further; light is a factor; `away`: the back faces the
    camera.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    gaze: tuple[float, float] = (0.0, 0.0)
    blink: float = 0.0
    brows: float = 0.0
    frown: float = 0.0
    widened: float = 0.0
    light: float = 1.0
    away: bool = False

    @cached_property
    def head(self) -> Array:
        """The head's rotation (3, 3), for columns."""
        return _rotation(self.yaw + np.pi * self.away, self.pitch, self.roll)

    @cached_property
    def torso(self) -> Array:
        """The shoulders' rotation (3, 3), which partly follows the head."""
        return _rotation(0.22 * self.yaw + np.pi * self.away, 0.05 * self.pitch, 0.12 * self.roll)

    def place_head(self, points: Array) -> Array:
        """Points (..., 3) of the head in camera axes."""
        moved: Array = (points - PIVOT) @ self.head.T + PIVOT
        moved[..., :2] += self.shift
        return moved

    def place_torso(self, points: Array) -> Array:
        moved: Array = (points - PIVOT) @ self.torso.T + PIVOT
        moved[..., :2] += 0.75 * np.asarray(self.shift)
        return moved


@dataclass(frozen=True)
class Camera:
    """`centre`: the projection of (0, 0, 0) in pixels; `scale`: pixels per mm at z = 0."""

    centre: tuple[float, float]
    scale: float

    def project(self, points: Array) -> Array:
        """The pixels (..., 2) of points (..., 3) in camera axes."""
        near = DISTANCE / (DISTANCE - points[..., 2:])
        pixels: Array = points[..., :2] * near * self.scale + self.centre
        return pixels


def _rotation(yaw: float, pitch: float, roll: float) -> Array:
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    matrix: Array = tilt @ nod @ turn
    return matrix
