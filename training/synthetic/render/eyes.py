"""Eyes: lids, eyeball with iris, and lashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .camera import Camera, Pose
from .light import Light
from .patch import Patch
from .raster import Floats
from .surface import linear

if TYPE_CHECKING:
    from .head import HeadShape
    from .identity import Identity

Array = NDArray[np.float64]
SIDES = np.array([-1.0, 1.0])  # the viewer's left eye, the right

FACTOR = 3
POINTS = 25
IRIS = 6.3  # mm
BALL = 12.2  # mm
# Positions of iBUG's points on the lids, from the inner corner to the outer.
LID_PLACES = (-0.36, 0.36)


def lids(person: Identity, shape: HeadShape, pose: Pose) -> Array:
    """The edges of the lids in mm: (2 sides, upper and lower, POINTS, 3), from the inner corner to the outer."""
    out = np.linspace(-1, 1, POINTS)
    y = np.broadcast_to(np.stack(lid_heights(person, out, pose)), (2, 2, POINTS))
    x = np.broadcast_to(person.eye_distance + person.eye_width * out, (2, 2, POINTS)) * SIDES[:, None, None]
    return np.stack([x, y, shape.depth(x, y) + 0.4], -1)


def lid_heights(person: Identity, out: Array, pose: Pose) -> tuple[Array, Array]:
    """y of the upper and the lower lid at positions -1 (inner corner) .. 1 (outer)."""
    corner = -person.eye_tilt * out + 0.6
    high = person.eye_height * (1 + pose.widened)
    upper = corner - 0.51 * high * np.clip(1 - np.abs(out + 0.10 * (1 - out**2)) ** 2.1, 0, 1) ** 0.85
    lower = corner + 0.41 * high * np.clip(1 - np.abs(out - 0.12 * (1 - out**2)) ** 2.1, 0, 1) ** 0.95
    # The upper lid follows the gaze; a blink lowers it to the lower lid.
    upper = upper + 1.6 * pose.gaze[1] * (1 - out**2)
    shut = lower + 0.25 - 0.12 * (lower - upper)
    return upper + (shut - upper) * pose.blink, lower - 0.12 * (lower - upper) * pose.blink


def points(lids: Array) -> Array:
    """Landmarks 36 to 47 in mm: (12, 3)."""
    inner, outer = (int(np.abs(np.linspace(-1, 1, POINTS) - place).argmin()) for place in LID_PLACES)
    (upper, lower), (upper_2, lower_2) = lids
    left = [upper[-1], upper[outer], upper[inner], upper[0], lower[inner], lower[outer]]
    right = [upper_2[0], upper_2[inner], upper_2[outer], upper_2[-1], lower_2[outer], lower_2[inner]]
    return np.array(left + right)


def draw(
    picture: Floats, person: Identity, shape: HeadShape, lids: Array, pose: Pose, camera: Camera, light: Light
) -> None:
    """Draws both eyes with these lids into a picture (h, w, 3) of linear colours."""
    centres = np.stack([SIDES * person.eye_distance, np.full(2, 0.3), np.zeros(2)], -1)
    centres[:, 2] = shape.depth(centres[:, 0], centres[:, 1]) - BALL + 0.6
    look = np.array([0.42 * pose.gaze[0], 0.30 * pose.gaze[1], 1.0])
    irises = camera.project(pose.place_head(centres + (BALL - 1.0) * look / np.linalg.norm(look)))
    edges = camera.project(pose.place_head(lids))
    for (upper, lower), iris in zip(edges, irises, strict=True):
        patch = Patch(
            np.concatenate([upper, lower]), 3 * camera.scale + 1, (picture.shape[0], picture.shape[1]), FACTOR
        )
        if not patch.empty:
            _draw(picture, patch, person, upper, lower, iris, camera.scale, pose, light)


def _draw(
    picture: Floats,
    patch: Patch,
    person: Identity,
    upper: Array,
    lower: Array,
    iris: Array,
    mm: float,
    pose: Pose,
    light: Light,
) -> None:
    part = picture[patch.window]
    bright = np.array(light.key_colour) * max(light.key[2], 0.3) + 0.5 * np.add(light.above, light.below)
    hole = patch.blank(0.0)
    patch.fill(hole, np.concatenate([upper, lower[::-1]]), 1.0)
    open_ = patch.small(hole)[..., None]
    ball = _ball(patch, person, upper, lower, iris, mm, hole, light) * bright.astype(np.float32)
    part += (patch.small(ball) - part) * open_
    inner, outer = (upper[0] + lower[0]) / 2, (upper[-1] + lower[-1]) / 2
    lash = patch.blank(0.0)
    out = outer - inner
    made = person.makeup
    for line, strength in ((lower, 0.30 + 0.35 * made), (upper, 0.95)):
        low = line is lower
        width = (0.55 if low else 1.15 + 0.9 * made) * mm
        patch.line(lash, line[2:], strength, width)
    flick = max(made - 0.25, 0) * 4.2 * mm
    if flick > 0.4:
        # Single lashes, longest at the outer corner.
        for index in range(6, POINTS, 2):
            t = index / (POINTS - 1)
            tip = upper[index] + flick * (
                t * np.array(out) / np.linalg.norm(out) * 0.7 + [0, (2 * pose.blink - 1) * 0.75 * t]
            )
            patch.line(lash, np.array([upper[index], tip]), 0.7, 0.45 * mm)
    dark = patch.small(patch.soften(lash, 0.22))[..., None]
    tone = linear(person.hair if sum(person.hair) < 1.2 else (0.25, 0.17, 0.12)) * 0.35
    part += (tone.astype(np.float32) - part) * np.clip(dark, 0, 1)


def _ball(
    patch: Patch,
    person: Identity,
    upper: Array,
    lower: Array,
    iris: Array,
    mm: float,
    hole: Floats,
    light: Light,
) -> Floats:
    """The visible part of the eyeball, lit by 1."""
    x, y = patch.places()
    radius = IRIS * mm
    dx, dy = (x - np.float32(iris[0])) / radius, (y - np.float32(iris[1])) / radius
    far = _length(dx, dy)
    across = upper[-1] - upper[0]
    place = ((x - upper[0, 0]) * across[0] + (y - upper[0, 1]) * across[1]) / max(float(across @ across), 1e-6)
    ball = patch.blank(0.56, 0.53, 0.52)
    pink = np.clip(1 - 9 * np.minimum(place, 1 - place), 0, 1)[..., None]
    ball += pink * (np.array([0.55, 0.25, 0.24], dtype=np.float32) - ball) * 0.6
    turn = np.arctan2(dy, dx)
    rays = 1 + 0.22 * np.sin(turn * 17 + 2) * np.sin(turn * 7) - 0.20 * dy
    ring = np.clip((far - 0.34) * 3.0, 0, 1)
    shade = (0.75 + 0.6 * ring * (1 - ring) * 2) * rays * (1 - 0.75 * np.clip((far - 0.76) * 4.5, 0, 1))
    colour = (linear(person.iris).astype(np.float32) * 1.15) * shade[..., None]
    colour *= 1 - np.clip((0.44 - far) * 14, 0, 1)[..., None] * 0.98
    soft = max(0.75 / (radius * patch.factor), 0.06)
    ball += (colour - ball) * np.clip((1 - far) / soft, 0, 1)[..., None]
    # The shadow of the lid on the eyeball, and a specular highlight.
    shaded = np.roll(patch.soften(hole, 0.9 * mm), round(1.7 * mm * patch.factor), axis=0)
    ball *= (0.28 + 0.72 * np.clip(shaded * 1.25 - 0.1, 0, 1))[..., None]
    glint = _length(dx - np.float32(0.45 * light.key[0]), dy - np.float32(0.45 * light.key[1] - 0.08))
    ball += np.clip((0.24 - glint) * 9, 0, 1)[..., None] * np.float32(0.9)
    return ball


def _length(x: Floats, y: Floats) -> Floats:
    """The length of (x, y), broadcast."""
    far: Floats = np.sqrt(x * x + y * y)
    return far
