"""Occluders of the mouth: a hand or a microphone, drawn once and moved over the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .identity import Identity
from .light import Light
from .opencv import cv2
from .raster import Floats
from .surface import linear, noise

Array = NDArray[np.float64]

SIDE = 320  # side of an occluder's picture in mm and in pixels
MIDDLE = 130.0  # position of the occluder's (0, 0) in it, in both directions

# x, y of both ends and their radii, mm; (0, 0) is the middle of the palm.
HAND = (
    (0, 40, 2, 190, 26, 32),
    (-16, -22, -12, 34, 22, 20),
    (12, -22, 10, 34, 22, 20),
    (-27, -34, -34, -88, 9.5, 7.4),
    (-9, -40, -11, -106, 10.0, 7.8),
    (9, -40, 12, -100, 9.8, 7.6),
    (26, -30, 33, -78, 8.6, 6.6),
    (-32, 14, -52, -10, 13, 11.5),
    (-52, -10, -64, -38, 11, 8.5),
)
NAILED = (3, 4, 5, 6, 8)
GRIP = ((30, 62, -22, 58, 10, 8.5), (32, 79, -23, 77, 10.5, 9), (32, 97, -22, 96, 10, 8.5), (36, 70, 44, 190, 22, 28))


@dataclass(frozen=True, eq=False)
class Thing:
    """An occluder: its picture (SIDE, SIDE, 3) of linear colours in the light of a scene, and its coverage per pixel.

    At rest its (0, 0) is between `rest[0]` and `rest[1]` mm below the mouth.
    """

    colour: Floats
    cover: Floats
    rest: tuple[float, float]


def hand(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """A hand with stretched fingers, and the arm below it."""
    height, owner = _limbs(HAND)
    height = np.where(height > 0, cv2.GaussianBlur(height, (0, 0), 1.2), 0)
    colour = _skin(person, height.shape, rng)
    x, y = _places()
    for limb in NAILED:
        x0, y0, x1, y1, _, radius = HAND[limb]
        along = np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0)
        far = (x - x1) * along[0] + (y - y1) * along[1]
        aside = -(x - x1) * along[1] + (y - y1) * along[0]
        nail = np.clip(3 * (1 - (aside / (0.62 * radius)) ** 2 - ((far - 0.5) / (0.72 * radius)) ** 4), 0, 1)
        nail *= owner == limb
        colour += nail[..., None] * (linear((0.93, 0.74, 0.70)) * 0.9 - colour) * 0.45
    sleeve = np.clip((y - 118) / 1.5, 0, 1)[..., None]
    colour += sleeve * (linear(person.cloth) - colour)
    height += np.where(height > 0, 4 * sleeve[..., 0], 0)
    return _lit(colour, height, np.full(height.shape, 0.12), light, (40.0, 80.0))


def microphone(person: Identity, light: Light, rng: np.random.Generator) -> Thing:
    """A microphone with a wire mesh, held by a hand."""
    x, y = _places()
    ball = np.sqrt(np.maximum(25.0**2 - x**2 - y**2, 0))
    body, _ = _limbs(((0, 26, 0, 175, 14, 11),))
    fingers, _ = _limbs(GRIP)
    fingers = np.where(fingers > 0, fingers + 9, 0)
    height = np.maximum(np.maximum(ball, body), fingers)
    wire = 0.5 + 0.5 * np.cos(1.7 * (x + y)) * np.cos(1.7 * (x - y))
    grey = rng.uniform(0.25, 0.6)
    colour = np.broadcast_to(linear((0.10, 0.10, 0.11)), (*x.shape, 3)).copy()
    colour[ball >= body] = 0
    colour += (ball >= body)[..., None] * (linear((grey, grey, grey)) * (0.25 + 0.75 * wire)[..., None])
    ring = (np.abs(y - 4) < 2.2) & (ball > 0)
    colour[ring] = linear((grey, grey, grey * 1.04)) * 1.1
    held = fingers >= np.maximum(ball, body)
    colour = np.where((held & (fingers > 0))[..., None], _skin(person, x.shape, rng), colour)
    sleeve = np.clip((y - 150) / 1.5, 0, 1)[..., None] * held[..., None]
    colour += sleeve * (linear(person.cloth) - colour)
    return _lit(colour, height, np.where(held, 0.12, 0.9), light, (6.0, 30.0))


OCCLUDERS: dict[str, Callable[[Identity, Light, np.random.Generator], Thing]] = {
    "hand": hand,
    "microphone": microphone,
}


@dataclass(frozen=True, eq=False)
class Crossing:
    """An occluder and its path: per frame its (0, 0) in mm from the mouth and its angle in radians; NaN if absent."""

    thing: Thing
    way: Array  # (frames, 3)

    @classmethod
    def sample(cls, thing: Thing, rng: np.random.Generator, frames: int, share: float = 0.5) -> Crossing:
        """A path from below to the mouth and back, over `share` of the frames."""
        way = np.full((frames, 3), np.nan)
        here = max(2, round(share * frames))
        start = int(rng.integers(0, max(frames - here, 0) + 1))
        t = np.linspace(0, 1, here)
        near = np.clip(np.minimum(t, 1 - t) * 4, 0, 1)
        near = near * near * (3 - 2 * near)
        side = rng.choice([-1, 1])
        rest = np.array([side * rng.uniform(0, 14), rng.uniform(*thing.rest)])
        away = np.array([side * rng.uniform(60, 130), rng.uniform(190, 230)])
        drift = np.stack([5 * np.sin(2 * np.pi * 1.3 * t * here / 25), 3 * np.cos(2 * np.pi * 0.9 * t * here / 25)], -1)
        way[start : start + here, :2] = away + (rest - away) * near[:, None] + drift
        way[start : start + here, 2] = -side * (0.22 + 0.45 * (1 - near)) + 0.05 * np.sin(9 * t)
        return cls(thing, way)

    def draw(
        self, picture: Floats, frame: int, mouth: Array, scale: float, light: Light, shaded: Floats
    ) -> NDArray[np.bool_]:
        """Draws the occluder over a picture (h, w, 3) of linear colours; returns its mask (h, w).

        `mouth` is in pixels, `scale` in pixels per mm; the shadow falls where `shaded` (h, w) is above 0.
        """
        h, w = picture.shape[:2]
        x, y, turn = self.way[frame]
        if np.isnan(x):
            return np.zeros((h, w), dtype=np.bool_)
        c, s = scale * np.cos(turn) * 1.08, scale * np.sin(turn) * 1.08
        at = mouth + scale * np.array([x, y]) - 0.5
        move = np.array([[c, -s, at[0] - (c - s) * MIDDLE], [s, c, at[1] - (s + c) * MIDDLE]])
        cover = cv2.warpAffine(self.thing.cover, move, (w, h), flags=cv2.INTER_LINEAR)
        colour = cv2.warpAffine(
            self.thing.colour, move, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        fall = move + np.array([[0, 0, -14 * light.key[0] * scale], [0, 0, -14 * light.key[1] * scale]])
        dim = cv2.GaussianBlur(cv2.warpAffine(self.thing.cover, fall, (w, h)), (0, 0), max(4.5 * scale, 0.6))
        picture *= (1 - np.float32(0.45) * dim * shaded)[..., None]
        picture += (colour - picture) * cover[..., None]
        return np.asarray(cover > 0.5, dtype=np.bool_)


def _places() -> tuple[Array, Array]:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    return x - MIDDLE, y - MIDDLE


def _limbs(limbs: tuple[tuple[float, ...], ...]) -> tuple[Array, NDArray[np.int64]]:
    """The height of rounded limbs and which of them is on top (-1: none)."""
    x, y = _places()
    height, owner = np.zeros(x.shape), np.full(x.shape, -1)
    for number, (x0, y0, x1, y1, r0, r1) in enumerate(limbs):
        dx, dy = x1 - x0, y1 - y0
        t = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        radius = r0 + (r1 - r0) * t
        up = np.sqrt(np.maximum(radius**2 - (x - x0 - t * dx) ** 2 - (y - y0 - t * dy) ** 2, 0))
        owner = np.where(up > height, number, owner)
        height = np.maximum(height, up)
    return height, owner


def _skin(person: Identity, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    grain = noise(rng, (shape[0], shape[1]), (30, 30), 4)
    skin: Array = linear(person.skin) * [1.0, 0.90, 0.88] * (0.97 + 0.06 * grain)[..., None]
    return skin


def _lit(colour: Array, height: Array, gloss: Array, light: Light, rest: tuple[float, float]) -> Thing:
    """Shades a height map that faces the viewer."""
    down, across = np.gradient(height)
    normal = np.dstack([-across, -down, np.full(height.shape, 1.0)])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    key = np.array(light.key)
    towards = np.clip((normal @ key + 0.2) / 1.2, 0, 1)
    half = key + np.array([0, 0, 1])
    shine = 0.25 * gloss * np.clip(normal @ half / np.linalg.norm(half), 0, 1) ** 20
    up = 0.5 - 0.5 * normal[..., 1:2]
    around = up * light.above + (1 - up) * light.below
    lit = colour * (towards[..., None] * light.key_colour + around) + shine[..., None]
    mask = (height > 0).astype(np.float32)
    cover = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.7), dtype=np.float32)
    inside = np.where(mask[..., None] > 0, lit, 0)
    spread = cv2.GaussianBlur(inside, (0, 0), 2.0) / np.maximum(cv2.GaussianBlur(mask, (0, 0), 2.0), 1e-3)[..., None]
    return Thing(np.where(mask[..., None] > 0, lit, spread).astype(np.float32), cover, rest)
