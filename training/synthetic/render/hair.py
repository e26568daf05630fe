"""Hair: on the surface of the head, and the curtain of long hair behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .opencv import cv2
from .smooth import step
from .surface import Surface, blur, linear, noise

if TYPE_CHECKING:
    from .identity import Identity

Array = NDArray[np.float64]

# The lower edge of hair, mm below the pupils, over the angle from the front in degrees.
ANGLES = (0, 20, 36, 48, 58, 66, 78, 84, 100, 125, 180)
EDGES = {
    "short": (0.0, 0.0, 3.0, 14.0, 38.0, 62.0, 84.0, 82.0, 96.0, 120.0, 130.0),
    "swept": (2.0, 1.0, 3.0, 12.0, 36.0, 62.0, 86.0, 84.0, 100.0, 130.0, 140.0),
    "curls": (2.0, 2.0, 5.0, 14.0, 40.0, 66.0, 84.0, 90.0, 110.0, 140.0, 150.0),
    "long": (-4.0, 0.0, 8.0, 24.0, 62.0, 110.0, 165.0, 175.0, 178.0, 178.0, 178.0),
    "bald": (-60.0, -60.0, -60.0, -50.0, -30.0, 10.0, 66.0, 66.0, 90.0, 118.0, 128.0),
}


def grow(person: Identity, points: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The coverage with hair, 0..1, and its strands, -1..1, of a head (h, w, 3); displaces the points in place."""
    x, y, z = np.moveaxis(points, -1, 0)
    angle = np.degrees(np.arctan2(np.abs(x), z))
    front = 1 - step(angle, 38, 75)
    edge = blur(np.interp(angle, ANGLES, EDGES[person.style]) - person.hairline, 6)
    edge += front * _fringe(person, x)
    # In front the strands follow the hairline; at the sides and behind they hang.
    across = np.degrees(np.arctan2(x, z)) * 1.3
    combed = {"long": 1.0, "swept": 0.9, "short": 0.35}.get(person.style, 0.0) * front
    strands = _strands(
        rng,
        across
        + combed * ((edge - y) * np.sign(x - (14 if person.style == "long" else 40) * person.parting) * 1.2 - across),
        y,
    )
    loose = 0.5 if person.style == "long" else 1.0
    edge += loose * (1.8 * noise(rng, x.shape, (3, 30), 2) + 1.0 * strands)
    mask = step(edge - y, -3.0, 4.0)
    out = person.volume if person.style != "bald" else 1.0
    lift = out * step(edge - y, -3, 34) ** 0.7
    lift *= np.clip(1 - 0.6 * step(y, -30, 30) * (person.style not in ("long", "curls")), 0, 1)
    rough = (
        0.30 * noise(rng, x.shape, (16, 26), 2) if person.style == "curls" else 0.08 * noise(rng, x.shape, (5, 14), 2)
    )
    lift = lift * (1 + rough) + 0.45 * strands * (person.style != "bald")
    away = points - [0.0, -20.0, 0.0]
    away[..., 1] = np.minimum(away[..., 1], 0)
    away /= np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1)
    points += away * (lift * np.minimum(mask * 2, 1))[..., None]
    return mask, strands


def colours(person: Identity, strands: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Linear colour (h, w, 3) and gloss (h, w) of hair with these strands."""
    shape = (strands.shape[0], strands.shape[1])
    locks = noise(rng, shape, (4, 42), 2)
    curl = noise(rng, shape, (34, 54), 2) if person.style == "curls" else np.zeros(shape)
    light = 1 + 0.40 * strands + 0.22 * locks + 0.5 * curl
    colour = linear(person.hair) * np.clip(light, 0.25, 2.2)[..., None]
    gloss = (0.35 if person.style != "curls" else 0.12) * np.clip(0.7 + 0.7 * strands + 0.5 * locks, 0, 2)
    return colour, gloss


def _fringe(person: Identity, x: Array) -> Array:
    """How far the hair in front hangs below the hairline, mm."""
    if person.style == "long":
        # Parted, falling to both sides.
        parted: Array = 0.034 * np.minimum(np.abs(x - 14 * person.parting), 60) ** 1.9 - 8
        return parted
    if person.style == "swept":
        fall = 0.5 * x * np.sign(person.parting) * (1 - 0.6 * person.manly)
        return np.asarray(np.clip(14 * (1 - person.manly) + fall, -8, 30))
    round_: Array = 0.006 * np.abs(x) ** 2 - 3 * person.manly
    return round_


def curtain(person: Identity, rng: np.random.Generator, rows: int, columns: int) -> Surface:
    """Long hair from behind the face to the shoulders, open in front."""
    t = np.linspace(0, 1, rows)[:, None]
    angle = np.radians(np.linspace(64, 296, columns))[None]
    y = -60 + 205 * t + 10 * noise(rng, (rows, columns), (1, 9), 1) * t
    swing = 1 + 0.05 * np.sin(5 * t + person.parting) + 0.035 * noise(rng, (rows, columns), (3, 12), 2)
    full = 62 + (12 + 0.8 * person.volume) * step(t, 0.0, 0.38) + 10 * step(t, 0.3, 0.9) - 12 * step(t, 0.85, 1.0)
    wide = full * swing
    x = wide * np.sin(angle)
    z = -18 * t + 8 + (wide * 1.12) * np.cos(angle)
    points = np.stack([x, np.broadcast_to(y, x.shape), z], axis=-1)
    strands = _strands(rng, np.degrees(angle) * 1.3 + 0 * y, y + 0 * angle)
    points += 1.2 * strands[..., None] * [1.0, 0.0, 0.0]
    colour, gloss = colours(person, strands, rng)
    openness = np.broadcast_to(0.85 - 0.25 * np.abs(np.cos(angle)), x.shape).copy()
    return Surface(points, colour, gloss, openness, two_sided=True)


def _strands(rng: np.random.Generator, across: Array, along: Array) -> Array:
    """Noise that is smooth along hairs and fine across them, at positions in mm: about -1..1."""
    size = 512
    grain = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), sigmaX=1.0, sigmaY=12)
    grain = grain / np.std(grain) / 2
    column, row = ((v.astype(np.float32) * k) % (size - 1) for v, k in ((across, 2.6), (along, 1.3)))
    return np.asarray(cv2.remap(grain, column, row, cv2.INTER_LINEAR), dtype=np.float64)
