"""More that covers a mouth than training of lips needs: a cup, a fork, a strand of hair and shapes of any colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .identity import Identity
from .light import Light
from .occluder import OCCLUDERS, SIDE, Array, Crossing, Thing, _limbs, _lit, _places
from .opencv import cv2
from .surface import linear, noise

Make = Callable[[Identity, Light, np.random.Generator], Thing]


def cup(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """A cup with a handle, plain or with a band."""
    x, y = _places()
    half = rng.uniform(30, 42) - 0.06 * (y + 30)
    body = np.sqrt(np.maximum(half**2 - x**2, 0)) * ((y > -35) & (y < 65))
    side = rng.choice([-1, 1])
    ring = np.hypot((x - side * 44) / 20, (y - 12) / 26)
    handle = np.where((ring < 1) & (ring > 0.6), 6.0, 0.0)
    height = np.maximum(body, handle)
    colour = _plain(rng)
    if rng.random() < 0.5:
        colour[np.abs(y - rng.uniform(0, 30)) < rng.uniform(4, 14)] = linear(tuple(rng.uniform(0.05, 0.95, 3)))
    return _lit(colour, height, np.full(height.shape, 0.8), light, (16.0, 34.0))


def fork(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """A fork of metal or plastic: a thin bar with tines."""
    reach = rng.uniform(3.0, 4.5)
    tines = [(d, -42.0, d, -10.0, 1.6, 1.8) for d in (-9.0, -3.0, 3.0, 9.0)]
    height, _ = _limbs((*tines, (-7.0, -6.0, 7.0, -6.0, 6.0, 6.0), (0.0, 0.0, 0.0, 185.0, reach, reach + 2)))
    grey = rng.uniform(0.3, 0.9)
    colour = _plain(rng) if rng.random() < 0.3 else np.broadcast_to(linear((grey,) * 3), (*height.shape, 3)).copy()
    return _lit(colour, height, np.full(height.shape, 1.0), light, (0.0, 20.0))


def strand(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """A strand of hair that hangs from above."""
    x, y = _places()
    height = np.zeros(x.shape)
    bend, width, phase = rng.uniform(-14, 14), rng.uniform(4, 9), rng.uniform(0, 6)
    for _ in range(int(rng.integers(14, 30))):
        way = bend * np.sin(y / rng.uniform(60, 70) + phase) + rng.normal(0, width / 2) + 0.02 * rng.normal() * y
        height = np.maximum(height, np.sqrt(np.maximum(rng.uniform(0.9, 2.0) ** 2 - (x - way) ** 2, 0)))
    height *= y < rng.uniform(60, 150)
    tone = linear(tuple(np.array(person.hair) * rng.uniform(0.7, 1.1))) if rng.random() < 0.7 else _brown(rng)
    shades = 1 + 0.3 * noise(rng, x.shape, (40, 4), 3)
    return _lit(np.asarray(tone) * shades[..., None], height, np.full(height.shape, 0.6), light, (-10.0, 20.0))


def slab(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """A flat thing of any colour, such as a telephone, a book or a scarf."""
    x, y = _places()
    across, down, round_ = rng.uniform(8, 60), rng.uniform(8, 90), rng.uniform(2, 12)
    out = np.hypot(np.maximum(np.abs(x) - across + round_, 0), np.maximum(np.abs(y) - down + round_, 0))
    height = np.where(out < round_, 4.0 + 0 * x, 0.0)
    colour = _plain(rng)
    if rng.random() < 0.5:
        spots = noise(rng, x.shape, (int(rng.integers(4, 40)),) * 2, 3) > rng.uniform(-0.3, 0.3)
        colour[spots] = linear(tuple(rng.uniform(0.02, 0.98, 3)))
    return _lit(colour, height, np.full(height.shape, rng.uniform(0.1, 0.9)), light, (0.0, 60.0))


def limb(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """One to three fingers, sticks or arms, of skin or any colour."""
    parts = []
    for number in range(int(rng.integers(1, 4))):
        radius, aside = rng.uniform(5, 26), number * rng.uniform(14, 22)
        parts.append((aside, rng.uniform(-60, 0), aside + rng.normal(0, 12), 185.0, radius, radius * 1.15))
    height, _ = _limbs(tuple(parts))
    grain = 1 + 0.05 * noise(rng, height.shape, (30, 30), 4)
    skin = np.asarray(linear(tuple(np.clip(np.array(person.skin) * rng.uniform(0.85, 1.12), 0, 1))))
    colour = skin * grain[..., None] if rng.random() < 0.7 else _plain(rng)
    return _lit(colour, height, np.full(height.shape, 0.15), light, (10.0, 50.0))


COVERS: dict[str, Make] = {**OCCLUDERS, "cup": cup, "fork": fork, "strand": strand}
# Of training alone.
SHAPES: dict[str, Make] = {"slab": slab, "limb": limb}


def passing(thing: Thing, rng: np.random.Generator, frames: int, share: float) -> Crossing:
    """A path before the mouth from the side and back, for what hangs from above, over `share` of the frames."""
    way = np.full((frames, 3), np.nan)
    here = max(2, round(share * frames))
    start = int(rng.integers(0, frames - here + 1))
    t = np.linspace(0, 1, here)
    near = np.clip(np.minimum(t, 1 - t) * 4, 0, 1)
    side = rng.choice([-1, 1])
    way[start : start + here, 0] = side * (120 - near * rng.uniform(95, 125)) + 4 * np.sin(8 * t)
    way[start : start + here, 1] = rng.uniform(*thing.rest)
    way[start : start + here, 2] = 0.1 * np.sin(7 * t)
    return Crossing(thing, way)


def _plain(rng: np.random.Generator) -> Array:
    """One colour with some grain: (SIDE, SIDE, 3)."""
    grain: NDArray[np.float64] = 1 + 0.1 * noise(rng, (SIDE, SIDE), (int(rng.integers(4, 60)),) * 2, 3)
    tone = rng.uniform(0.03, 0.97, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(0.03, 0.97))
    plain: Array = linear(tone) * np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.6))[..., None]
    return plain


def _brown(rng: np.random.Generator) -> Array:
    return np.asarray(linear(tuple(np.array([0.35, 0.24, 0.16]) * rng.uniform(0.2, 2.2))))
