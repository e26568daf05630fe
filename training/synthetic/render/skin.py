"""The paint of a head: skin with blush, freckles, stubble and wrinkles; brows, nostrils and beard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .smooth import bump, step
from .surface import blur, linear, noise

if TYPE_CHECKING:
    from .identity import Identity

Array = NDArray[np.float64]


def brow_line(person: Identity, x: Array) -> tuple[Array, Array]:
    """Middle and half thickness of the brows in mm at |x|; the thickness is 0 outside of them."""
    t = (np.abs(x) - 11.5) / 44
    middle = -person.brow_height - person.brow_arch * np.sin(np.pi * np.clip(t, 0, 1) ** 1.15) + 5.0 * t**2
    thick = (
        person.brow_thickness
        * (0.58 + 0.42 * np.sin(np.pi * np.clip(0.25 + 0.75 * t, 0, 1)))
        * step(t, -0.03, 0.1)
        * (1 - step(t, 0.50, 1.06))
    )
    return middle, thick


def carve(person: Identity, points: Array, rng: np.random.Generator) -> None:
    """Adds pores, wrinkles and the crease of the eyelids to the points (h, w, 3)."""
    x, y = points[..., 0], points[..., 1]
    shape = (x.shape[0], x.shape[1])
    front = step(points[..., 2], 20, 60)
    z = 0.10 * noise(rng, shape, (110, 110), 2) + 0.35 * noise(rng, shape, (12, 12), 2)
    waves = np.sin(y * 0.62 + 2.2 * noise(rng, shape, (6, 9), 2)) * bump(x, y, (0, -46), (30, 13))
    z += person.wrinkles * 0.30 * waves * np.clip(0.6 + noise(rng, shape, (9, 9), 1), 0, 1)
    feet = np.sin((np.abs(x) * 0.3 + y) * 1.0) * bump(np.abs(x), y, (54, 3), (6, 9))
    z += person.wrinkles * 0.35 * feet - 0.9 * crease(person, x, y)
    bag = y - (9.5 + 0.012 * (np.abs(x) - person.eye_distance) ** 2 * -1)
    z -= (0.3 + 0.5 * person.wrinkles) * np.exp(-((bag / 1.8) ** 2)) * bump(np.abs(x), y, (28, 10), (13, 8))
    points[..., 2] += z * front


def crease(person: Identity, x: Array, y: Array) -> Array:
    """The fold above the upper lid, 0..1."""
    q = (np.abs(x) - person.eye_distance) / (person.eye_width * 1.08)
    line = -0.72 * person.eye_height - 2.3 + 6.2 * np.abs(q) ** 2.2 - person.eye_tilt * q
    fold: Array = np.exp(-(((y - line) / 1.15) ** 2)) * (1 - step(np.abs(q), 0.85, 1.1))
    return fold


def paint(person: Identity, points: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Linear colour (h, w, 3), gloss and openness (h, w) of a head's skin."""
    x, y, z = np.moveaxis(points, -1, 0)
    side, shape = np.abs(x), (x.shape[0], x.shape[1])
    front = step(z, 10, 50)
    colour = np.broadcast_to(linear(person.skin), (*shape, 3)).copy()
    mottled = noise(rng, shape, (24, 24), 4)
    fine = noise(rng, shape, (150, 150), 2)
    colour *= (1 + 0.05 * mottled + 0.045 * fine)[..., None]
    red = (
        0.9 * bump(side, y, (42, 30), (20, 17))
        + 0.6 * bump(x, y, (0, 40), (14, 9))
        + 0.3 * bump(x, y, (0, 104), (16, 9))
    )
    red = person.blush * (red + 0.25 * noise(rng, shape, (9, 9), 2) * front) * front
    _tint(colour, np.array([1.0, 0.78, 0.78]), np.clip(red, 0, 1.2))
    _tint(colour, np.array([0.72, 0.62, 0.66]), 0.55 * bump(side, y, (29, 11), (14, 5)) * front)
    shadow = bump(side, y, (person.eye_distance, -6), (15, 7)) * front
    _tint(colour, np.array([0.80, 0.62, 0.60]), (0.35 + 0.75 * person.makeup) * shadow)
    spots = np.clip(noise(rng, shape, (120, 120), 1) - 0.42, 0, 1) * 4
    cheeks = np.clip(bump(side, y, (34, 26), (26, 20)) + bump(x, y, (0, 25), (16, 20)), 0, 1)
    _tint(colour, np.array([0.66, 0.48, 0.40]), np.clip(spots * person.freckles * cheeks * front, 0, 0.8))
    gloss = 0.30 + 0.5 * bump(x, y, (0, 30), (10, 16)) + 0.35 * bump(x, y, (0, -45), (35, 20)) + 0.25 * red
    openness = _openness(points, front)
    openness *= 1 - 0.40 * crease(person, x, y) * front
    long, wide = 40 * person.nose_length, person.nose_width
    nostril = bump(side - 0.25 * (y - long), y, (6.6 * wide, long + 9.2), (3.6 * wide, 2.1)) * front
    _tint(colour, np.array([0.10, 0.05, 0.05]), np.clip(1.5 * nostril, 0, 0.93))
    gloss *= 1 - np.clip(1.5 * nostril, 0, 1)
    under = bump(x, y, (0, 83 * person.face_length), (15, 4)) + 0.5 * bump(
        side, y, (person.mouth_width + 2, 70), (3, 4)
    )
    openness *= 1 - 0.25 * under * front
    _whiskers(person, colour, gloss, points, rng)
    _brows(person, colour, gloss, points, rng)
    return colour, gloss, openness


def whisker_area(x: Array, y: Array, z: Array) -> Array:
    """The density of beards, 0..1, at points in mm."""
    side = np.abs(x)
    moustache = bump(x, y, (0, 58), (27, 6.5)) * (1 - 0.5 * bump(x, y, (0, 56), (3, 5)))
    edge = 62 - 48 * step(side, 32, 66) ** 1.5
    jaw = step(y, edge - 9, edge + 13) * step(z, -12, 8)
    chin = 1 - 0.45 * bump(side, y, (20, 84), (7, 4))
    area: Array = np.clip(moustache * 1.4 + jaw * chin, 0, 1)
    return area


def _openness(points: Array, front: Array) -> Array:
    """Ambient occlusion: the depth of a point below its surroundings, at two scales."""
    z = points[..., 2]
    total = np.ones(z.shape)
    for sigma, depth in ((7, 5.0), (20, 14.0)):
        total -= 0.38 * np.clip((blur(z, sigma) - z) / depth, 0, 1) * front
    return total


def _whiskers(person: Identity, colour: Array, gloss: Array, points: Array, rng: np.random.Generator) -> None:
    x, y, z = np.moveaxis(points, -1, 0)
    dots = noise(rng, x.shape, (200, 200), 1)
    area = whisker_area(x, y, z) * np.clip(1 + 0.6 * noise(rng, x.shape, (20, 20), 3), 0.3, 1)
    if person.stubble:
        share = np.clip(person.stubble * area * (0.42 + 0.3 * dots), 0, 0.75)
        _blend(colour, linear(person.hair) * 0.6 + 0.35 * linear(person.skin) * [0.75, 0.85, 1.0], share)
    if person.beard:
        full = whisker_area(x, y, z)
        strands = noise(rng, x.shape, (60, 260), 2)
        share = np.clip((0.55 + 0.42 * person.beard) * step(full + 0.10 * strands, 0.10, 0.60), 0, 0.97)
        _blend(colour, linear(person.hair) * (0.85 + 0.5 * strands)[..., None], share)
        gloss *= 1 - 0.7 * share


def _brows(person: Identity, colour: Array, gloss: Array, points: Array, rng: np.random.Generator) -> None:
    x, y, z = np.moveaxis(points, -1, 0)
    middle, thick = brow_line(person, x)
    # Hairs follow the brow and rise at its inner end.
    strands = blur(rng.normal(size=x.shape), 0.8) * 2 + noise(rng, x.shape, (90, 45), 2) * 0.6
    inside = 1 - np.abs(y - middle) / np.maximum(thick, 0.05) + 0.10 * strands
    share = np.clip(
        (0.62 + 0.12 * strands + 0.3 * person.manly)
        * step(inside, -0.5, 0.75)
        * step(thick, 0.3, 1.3)
        * step(z, 5, 20),
        0,
        0.90,
    )
    dark = linear(person.hair) * 0.7 if sum(person.hair) < 1.6 else linear(person.hair) * 0.45
    _blend(colour, dark * (1 + 0.25 * strands)[..., None], share)
    gloss *= 1 - 0.7 * share


def _tint(colour: Array, factor: Array, share: Array) -> None:
    """Multiplies by the factor, weighted by the share, in place."""
    colour *= 1 + (factor - 1) * share[..., None]


def _blend(colour: Array, other: Array, share: Array) -> None:
    colour += (other - colour) * share[..., None]
