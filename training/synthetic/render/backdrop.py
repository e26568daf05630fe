"""Backgrounds: a wall, a room out of focus, or lights at night."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .opencv import cv2
from .raster import Floats
from .surface import linear, noise

WALLS = (
    (0.62, 0.64, 0.66),
    (0.45, 0.52, 0.58),
    (0.70, 0.64, 0.55),
    (0.34, 0.38, 0.36),
    (0.55, 0.46, 0.44),
    (0.28, 0.31, 0.40),
    (0.66, 0.70, 0.64),
)


def wall(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A plain wall, lighter on one side."""
    h, w = size
    y, x = np.mgrid[0:h, 0:w] / max(h, w)
    tone = linear(WALLS[rng.integers(len(WALLS))]) * rng.uniform(0.7, 1.1)
    across, down = rng.uniform(-0.8, 0.8), rng.uniform(-0.2, 0.6)
    glow = np.exp(-(((x - rng.uniform(0.1, 0.9)) ** 2 + (y - rng.uniform(0, 0.7)) ** 2) / 0.25))
    shade = 1 + across * (x - 0.5) - down * (y - 0.4) + 0.35 * glow + 0.05 * noise(rng, size, (4, 4), 3)
    return np.asarray(tone * np.clip(shade, 0.2, 2)[..., None], dtype=np.float32)


def room(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A wall with a window or pictures, a shelf and a plant, all out of focus."""
    h, w = size
    scene = wall(rng, size)
    for _ in range(int(rng.integers(2, 5))):
        left, top = rng.uniform(-0.1, 0.9) * w, rng.uniform(-0.1, 0.5) * h
        box = (int(left), int(top), int(left + rng.uniform(0.12, 0.4) * w), int(top + rng.uniform(0.15, 0.5) * h))
        bright = rng.random() < 0.35
        tone = (
            rng.uniform(0.7, 1.1) * np.array([0.95, 1.0, 1.05])
            if bright
            else rng.uniform(0.02, 0.4) * rng.uniform(0.7, 1.3, 3)
        )
        cv2.rectangle(scene, box[:2], box[2:], tone.tolist(), -1)
    shelf = int(rng.uniform(0.45, 0.8) * h)
    left = rng.uniform(-0.1, 0.6) * w
    while left < w * rng.uniform(0.8, 1.2):
        wide, tall = rng.uniform(0.02, 0.07) * w, rng.uniform(0.08, 0.22) * h
        tone = linear(rng.uniform(0.15, 0.7) * rng.uniform(0.65, 1.3, 3)).tolist()
        cv2.rectangle(scene, (int(left), int(shelf - tall)), (int(left + wide), shelf), tone, -1)
        left += wide + rng.uniform(0, 0.02) * w
    for _ in range(int(rng.integers(0, 14))):
        centre = (int(rng.uniform(0, 0.25) * w), int(rng.uniform(0.3, 1.0) * h))
        axes = (int(rng.uniform(0.02, 0.05) * w), int(rng.uniform(0.06, 0.14) * h))
        green = linear((rng.uniform(0.15, 0.3), rng.uniform(0.3, 0.45), rng.uniform(0.15, 0.25))).tolist()
        cv2.ellipse(scene, centre, axes, rng.uniform(-60, 60), 0, 360, green, -1)
    return np.asarray(cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.012, 0.035) * max(size)), dtype=np.float32)


def night(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Discs of light in the dark."""
    h, w = size
    scene = wall(rng, size) * np.float32(0.22)
    for _ in range(int(rng.integers(8, 22))):
        disc = np.zeros((h, w), dtype=np.float32)
        centre = (int(rng.uniform(0, w)), int(rng.uniform(0, h)))
        cv2.circle(disc, centre, int(rng.uniform(0.02, 0.07) * max(size)), (rng.uniform(0.1, 0.6),), -1)
        tone = np.array([1.0, rng.uniform(0.5, 0.95), rng.uniform(0.25, 0.9)], dtype=np.float32)
        scene += disc[..., None] * tone
    return np.asarray(cv2.GaussianBlur(scene, (0, 0), 0.006 * max(size)), dtype=np.float32)


BACKDROPS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "wall": wall,
    "room": room,
    "night": night,
}
