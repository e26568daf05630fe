"""Neck, shoulders and ears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from .smooth import bump, step
from .surface import Surface, linear, noise

if TYPE_CHECKING:
    from .identity import Identity

Array = NDArray[np.float64]

# y, half width, and depths to the front and the back of z = CENTRE, mm.
PROFILE = np.array(
    [
        (50, 50, 34, 50),
        (90, 52, 42, 54),
        (118, 53, 46, 58),
        (132, 57, 48, 61),
        (144, 68, 51, 64),
        (154, 86, 55, 67),
        (165, 114, 61, 72),
        (180, 150, 70, 78),
        (203, 181, 79, 82),
        (230, 199, 88, 86),
        (290, 206, 98, 90),
        (430, 204, 104, 92),
    ],
    dtype=np.float64,
)
CENTRE = -22.0


def follow(y: Array) -> Array:
    """How far a point of neck and shoulders follows the head, 0..1."""
    return 1 - step(y, 62, 160)


def body(person: Identity, rng: np.random.Generator, rows: int, columns: int) -> Surface:
    """Neck and shoulders, front and back, with clothes below the neckline."""
    table = PROFILE.copy()
    neck = 1 - step(table[:, 0], 130, 170)
    table[:, 1] *= (0.86 + 0.15 * person.manly) * (1 + 0.05 * neck * (person.fat - 0.4))
    place = np.concatenate([[0], np.cumsum(np.hypot(np.diff(table[:, 0]), 0.7 * np.diff(table[:, 1])))])
    y, width, front, back = PchipInterpolator(place / place[-1], table)(np.linspace(0, 0.999, rows)).T[:, :, None]
    u = np.linspace(-1, 1, columns)
    angle = np.pi * (0.7 * u + 0.3 * u**3)[None]
    sine, cosine = np.sin(angle), np.cos(angle)
    x = width * sine
    z = np.where(cosine > 0, front, back) * cosine
    y = y + 0 * x
    # The windpipe and the muscles beside it protrude; the pit of the neck and the shoulders recede.
    z += 2.5 * bump(x, y, (0, 128), (9, 22)) * (cosine > 0) * (0.6 + 0.9 * person.manly)
    tendon = np.abs(x) - (34 - 0.42 * (y - 90))
    z += 2.2 * np.exp(-((tendon / 6) ** 2)) * step(y, 85, 110) * (1 - step(y, 150, 162)) * (cosine > 0)
    z -= 4.5 * bump(x, y, (0, 164), (10, 6)) * (cosine > 0)
    bone = y - (170 + 0.05 * np.abs(x))
    z += 2.0 * np.exp(-((bone / 4) ** 2)) * step(np.abs(x), 10, 25) * (1 - step(np.abs(x), 70, 110)) * (cosine > 0)
    low = 152 + 55 * person.neckline * np.exp(-((x / (52 + 20 * person.neckline)) ** 2)) * (cosine > 0)
    low = low + 4 * (cosine > 0)
    dressed = step(y - low, -0.8, 0.8)
    hem = np.exp(-(((y - low - 4) / 4) ** 2))
    folds = noise(rng, x.shape, (8, 10), 3)
    z = z + dressed * (2.5 + 2.2 * hem + 4.0 * folds * step(y, 160, 230)) * np.sign(cosine)
    skin = linear(person.skin) * (0.93 + 0.05 * noise(rng, x.shape, (16, 24), 3))[..., None]
    weave = 1 + 0.07 * noise(rng, x.shape, (100, 160), 2) + 0.10 * folds
    stripe = 1 - 0.45 * person.stripes * step(np.sin(y * 0.42), 0.2, 0.5)
    cloth = linear(person.cloth) * (weave * stripe)[..., None] * (1 - 0.22 * hem[..., None])
    colour = skin + (cloth - skin) * dressed[..., None]
    gloss = 0.20 * (1 - dressed) + 0.02
    shade = np.exp(-(((y - low + 2.5) / 3) ** 2)) * (1 - dressed)
    openness = (1 - 0.45 * shade) * (0.62 + 0.38 * step(y, 105, 150))
    return Surface(np.stack([x, y, z + CENTRE], axis=-1), colour, gloss, openness)


def ear(person: Identity, side: int, rng: np.random.Generator, rows: int, columns: int) -> Surface:
    """One ear: `side` -1 is at the viewer's left. Rows run around it, columns from the middle over the rim."""
    turn = np.linspace(0, 2 * np.pi, rows)[:, None]
    out = np.linspace(0, 1, columns)[None]
    radius = np.minimum(out / 0.86, 1)
    tall, deep = 30.0 * person.ears, 16.5 * person.ears
    up, back = -np.cos(turn), np.sin(turn)
    narrow = 1 - 0.28 * step(up, -0.2, 1.0)  # the lobe
    y = 8 + tall * up * radius
    z = -14 - deep * back * radius * narrow - 5.0 * up * radius * -1
    rim = np.exp(-(((radius - 0.88) / 0.10) ** 2)) * step(out, 0, 0.3)
    fold = np.exp(-(((radius - 0.52) / 0.12) ** 2)) * step(-up, -0.5, 0.6)
    bowl = bump(np.broadcast_to(radius, y.shape), np.zeros_like(y), (0.05, 0), (0.38, 1))
    stand = 5.5 + 9.5 * step(back, -0.5, 1.0) * radius
    x = stand + 2.6 * rim + 1.8 * fold - 5.0 * bowl - 9.0 * step(out, 0.87, 1.0)
    x = side * (x + 68.0 * person.face_width)
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
    if side < 0:
        points = points[::-1]
    grain = noise(rng, (rows, columns), (8, 8), 2)
    red = linear(person.skin) * [1.0, 0.80, 0.78] * (1 + 0.06 * grain)[..., None]
    openness = np.clip(
        0.95 - 0.65 * bowl - 0.35 * np.exp(-(((radius - 0.70) / 0.09) ** 2)) * step(-up, -0.8, 0.2), 0.1, 1
    )
    if side < 0:
        openness = openness[::-1]
    return Surface(points, red, np.full((rows, columns), 0.2), np.broadcast_to(openness, (rows, columns)).copy())
