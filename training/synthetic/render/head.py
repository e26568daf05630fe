"""The shape of a head, a surface over height and angle, and its motion with jaw, lips and brows.

Millimetres: x to the viewer's right, y down, z towards the viewer; (0, 0, 0) is between the ears at the pupils' height.
Horizontal sections are superellipses around the y axis; nose, sockets, lips, chin and cheeks are added to z.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from .mouth import LINE, SMILE, MouthShape, half_width, jaw_drop, protrusion, raised
from .opencv import cv2
from .smooth import bump, step

if TYPE_CHECKING:
    from .identity import Identity

Array = NDArray[np.float64]

# y, half width, depth to the front, depth to the back: from the top of the head to below the chin.
PROFILE = np.array(
    [
        (-116, 0, 0, 0),
        (-114, 20, 24, 27),
        (-108, 39, 48, 54),
        (-96, 57, 67, 76),
        (-78, 69, 82, 90),
        (-52, 75, 91, 97),
        (-22, 75.5, 93.5, 97),
        (0, 73, 91, 94),
        (20, 70, 89, 87),
        (40, 66.5, 88, 78),
        (60, 62, 88.5, 66),
        (78, 55.5, 88, 56),
        (92, 47.5, 87, 48),
        (103, 39, 85.5, 40),
        (111, 30, 82, 34),
        (116, 22, 76, 28),
        (118.5, 15, 66, 20),
        (118, 8, 45, 12),
        (115, 0, 0, 0),
    ],
    dtype=np.float64,
)
ROUNDNESS = 2.25
# Share of the angle that is uniform over the columns; the rest concentrates columns in front.
EVEN = 0.30
MAP = (90, -70, 140)  # range of the depth table: x to both sides, y from and to


class HeadShape:
    """The resting head of one person."""

    def __init__(self, person: Identity) -> None:
        self.person = person
        table = PROFILE.copy()
        y = table[:, 0]
        lower = step(y, 25, 85)
        wide = person.face_width * (1 + (person.jaw_width - 1) * lower + 0.07 * (person.fat - 0.4) * step(y, 10, 60))
        table[:, 1] *= wide
        table[:, 0] = np.where(y > 0, y * person.face_length, y)
        # More rows for the face than for the skull and the throat.
        weight = np.where((y > -30) & (y < 118), 1.5, 0.85) + 0.9 * ((y > 25) & (y <= 60))
        length = np.hypot(np.diff(table[:, 0]), 0.8 * np.diff(table[:, 2])) * weight[1:]
        place = np.concatenate([[0], np.cumsum(length)])
        self._rows = PchipInterpolator(place / place[-1], table, axis=0)
        # The front half as functions of y, for points given by x and y.
        front = table[:-2]
        self._front = PchipInterpolator(front[:, 0], front[:, 1:3], axis=0, extrapolate=True)
        x, y = np.meshgrid(np.arange(-MAP[0], MAP[0] + 1.0), np.arange(MAP[1], MAP[2] + 1.0))
        self._map = self._depth(x, y).astype(np.float32)

    def grid(self, rows: int, columns: int) -> Array:
        """Points (rows, columns, 3): rows from the top down, columns from the back around the viewer's left."""
        y, width, front, back = self._rows(np.linspace(0, 1, rows)).T[:, :, None]
        u = np.linspace(-1, 1, columns)
        angle = np.pi * (EVEN * u + (1 - EVEN) * u**3)[None]
        sine, cosine = np.sin(angle), np.cos(angle)
        depth = np.where(cosine > 0, front, back)
        narrow = np.maximum(width, 1e-6)
        deep = np.maximum(depth, 1e-6)
        radius = (np.abs(sine / narrow) ** ROUNDNESS + np.abs(cosine / deep) ** ROUNDNESS) ** (-1 / ROUNDNESS)
        x = radius * sine
        z = radius * cosine
        y = np.broadcast_to(y, x.shape)
        facing = step(cosine, 0.0, 0.45) * step(z, 5, 40)
        return np.stack([x, y, z + facing * self.relief(x, y)], axis=-1)

    def front(self, y: Array) -> Array:
        """Half width and depth to the front at heights y: (..., 2)."""
        return np.asarray(self._front(np.clip(y, -110, 117 * self.person.face_length)))

    def depth(self, x: Array, y: Array) -> Array:
        """z of the front at x and y, interpolated between whole millimetres."""
        across, down = (np.atleast_2d(v).astype(np.float32) for v in (x + MAP[0], y - MAP[1]))
        shape = np.shape(x)
        flat = cv2.remap(
            self._map, across.reshape(1, -1), down.reshape(1, -1), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
        )
        return np.asarray(flat.reshape(shape), dtype=np.float64)

    def _depth(self, x: Array, y: Array) -> Array:
        width, front = np.moveaxis(self.front(y), -1, 0)
        inside = np.clip(1 - np.abs(x / np.maximum(width, 1)) ** ROUNDNESS, 1e-4, 1)
        z = front * inside ** (1 / ROUNDNESS)
        cosine = z / np.maximum(np.hypot(x, z), 1e-6)
        facing: Array = z + step(cosine, 0.0, 0.45) * step(z, 5, 40) * self.relief(x, y)
        return facing

    def relief(self, x: Array, y: Array) -> Array:
        """The contribution of the facial features to z, mm."""
        person = self.person
        side = np.abs(x)
        z = -9.5 * bump(side, y, (person.eye_distance, -3), (18, 12)) - 3.5 * bump(side, y, (13, -2), (7, 9))
        z += 7.0 * bump(side, y, (person.eye_distance, 0.5), (12.5, 8.5))
        z += (2.2 + 3.2 * person.manly) * bump(side, y, (25, -19), (20, 6.5))
        z += 1.5 * bump(x, y, (0, -45), (45, 25))
        z += 6.0 * person.cheeks * bump(side, y, (44, 24), (17, 14))
        z += (9 * person.fat - 4.5) * bump(side, y, (42, 60), (20, 22))
        z += self._nose(x, y)
        z += 6.5 * bump(x, y, (0, 66), (26, 19))
        z -= 1.3 * bump(x, y, (0, 57.5), (2.4, 6)) - 0.7 * bump(side, y, (4.5, 57.5), (2.2, 6))
        fold = side - (15 + 17 * step(y, 40, 80))
        depth = 1.6 + 1.2 * person.wrinkles
        z -= depth * np.exp(-((fold / 3.5) ** 2)) * step(y, 38, 50) * (1 - step(y, 66, 84))
        z -= 4.2 * bump(x, y, (0, 86 * person.face_length), (18, 5))
        z += 6.5 * person.chin * bump(x, y, (0, 103 * person.face_length), (16, 11))
        return z

    def _nose(self, x: Array, y: Array) -> Array:
        person = self.person
        long, high, side = person.nose_length, person.nose_height, np.abs(x)
        tip = 40 * long
        ridge = 3 + 21.5 * high * step(y, -8, tip) ** 0.85
        wide = (6.0 + 3.8 * step(y, 8, tip)) * person.nose_width
        end = 1 - step(y, tip + 2.5 - 0.30 * side, tip + 13 - 0.35 * side)
        z = ridge * np.exp(-((side / wide) ** 2)) * step(y, -16, 0) * end
        z += 11.0 * bump(side, y, (12.0 * person.nose_width, tip + 3.0), (5.8 * person.nose_width, 6.4))
        z -= 2.0 * bump(side, y, (18.5 * person.nose_width, tip), (2.6, 7))
        nose: Array = z + 4.0 * bump(x, y, (0, tip - 0.5), (9.0, 7.0))
        return nose


class Motion:
    """The motion of points (n, 3) of a head: displacements per unit of each control."""

    def __init__(self, person: Identity, points: Array) -> None:
        x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        self.person = person
        side, half = np.abs(x), person.mouth_width
        front = step(z, 0, 45)
        aside = step(side, 5, 1.15 * half)
        # Below the lips the chin follows the jaw fully, beside them the cheeks in part.
        self._jaw = step(y, 63 - 22 * aside, 76 + 34 * aside) * step(z, -25, 40)
        self._mouth = bump(x, y, (0, LINE + 2), (1.45 * half, 22)) * front
        self._above = bump(x, y, (0, LINE - 8), (22, 9)) * front
        self._corner = bump(side, y, (half, LINE), (16, 14)) * front
        self._cheek = bump(side, y, (38, 44), (16, 16)) * front
        self._hollow = bump(side, y, (48, 68), (16, 22))
        self._brow = bump(side, y, (27, -24), (32, 13)) * front
        self._inner_brow = bump(side, y, (13, -22), (12, 12)) * front
        self._x, self._sign = x, np.sign(x) * np.clip(side / 6, 0, 1)

    def move(self, points: Array, mouth: MouthShape, brows: float = 0.0, frown: float = 0.0) -> Array:
        """The points with this mouth, the brows raised by `brows` mm and their inner ends lowered by `frown` mm."""
        person = self.person
        drop, rise = jaw_drop(person, mouth), raised(person, mouth)
        stretch = half_width(person, mouth) / person.mouth_width - 1
        moved = np.array(points, dtype=np.float64)
        moved[..., 0] += self._x * stretch * self._mouth - self._sign * self._hollow * 0.11 * drop
        moved[..., 1] += drop * self._jaw - 0.6 * rise * self._above - brows * self._brow
        moved[..., 0] -= 0.4 * frown * self._sign * self._inner_brow
        moved[..., 1] += frown * self._inner_brow
        moved[..., 1] -= mouth.wide * (2.0 * self._corner + 2.5 * self._cheek)
        moved[..., 1] -= mouth.smile * (SMILE * self._corner + 4.5 * self._cheek)
        moved[..., 2] += (
            protrusion(mouth) * self._mouth * 0.8 + 2.5 * (mouth.wide + max(mouth.smile, 0.0)) * self._cheek
        )
        moved[..., 2] -= 0.26 * drop * self._jaw + 1.2 * mouth.round * self._hollow
        return moved
