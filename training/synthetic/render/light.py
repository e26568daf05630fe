"""Lighting of a person: a soft key light with its shadow, ambient light, and specular highlights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .opencv import cv2
from .raster import Floats

# How far each colour wraps around the shadow's edge: red light scatters farthest in skin.
WRAP = (0.34, 0.20, 0.16)
SHADOW_STEPS = (7.0, 18.0, 40.0)  # mm towards the light


@dataclass(frozen=True)
class Light:
    """`key` points to the light (x right, y down, z towards the viewer); colours are linear."""

    key: tuple[float, float, float] = (-0.45, -0.5, 0.74)
    key_colour: tuple[float, float, float] = (0.80, 0.76, 0.70)
    above: tuple[float, float, float] = (0.36, 0.38, 0.42)
    below: tuple[float, float, float] = (0.20, 0.17, 0.15)
    rim: float = 0.15

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """Random soft light from the front and above."""
        across, up = rng.uniform(-0.85, 0.85), rng.uniform(-0.75, -0.2)
        key = np.array([across, up, rng.uniform(0.65, 1.1)])
        warm, strong = rng.uniform(-1, 1), rng.uniform(0.72, 1.0)
        white = np.array([1 + 0.09 * warm, 1, 1 - 0.13 * warm])
        sky = rng.uniform(0.26, 0.46) * np.array([1 - 0.07 * warm, 1, 1 + 0.09 * warm])
        ground = rng.uniform(0.40, 0.65) * sky * [1.06, 1.0, 0.93]
        vectors = (key / np.linalg.norm(key), strong * white, sky, ground)
        k, kc, a, b = ((float(v[0]), float(v[1]), float(v[2])) for v in vectors)
        return cls(k, kc, a, b, float(rng.uniform(0.0, 0.35)))


def shade(paint: Floats, normal: Floats, openness: Floats, depth: Floats, light: Light, scale: float) -> Floats:
    """Linear colours (h, w, 3) of a part of the picture.

    paint (h, w, 4): linear colour and gloss; normal (h, w, 3) in camera axes; openness (h, w); depth (h, w) in mm
    towards the viewer; `scale` in pixels per mm.
    """
    key = np.array(light.key, dtype=np.float32)
    half = key + np.array((0, 0, 1), dtype=np.float32)
    half /= np.linalg.norm(half)
    # One pass over the normals: towards the key light, the half vector, up, and away from the viewer.
    rows = np.array([key, half, (0, -0.5, 0), (0, 0, -1)], dtype=np.float32)
    towards, shine, up, away = cv2.split(cv2.transform(normal, rows))
    lit = shadow(depth, light, scale)
    sky = (up + np.float32(0.5)) * openness
    ground = openness - sky
    edge = np.clip(away + np.float32(0.95), 0, 1)
    planes = []
    for channel in range(3):
        wrap = WRAP[channel]
        diffuse = np.clip((towards + wrap) * (1 / (1 + wrap)), 0, None) * lit
        total = diffuse * light.key_colour[channel]
        total += sky * light.above[channel] + ground * light.below[channel]
        total += edge * (light.rim * light.above[channel])
        planes.append(total * paint[..., channel])
    glint = np.clip(np.asarray(shine, dtype=np.float32), 0, 1)
    glint *= glint
    glint *= glint
    glint *= glint  # ^8
    glint = (glint * np.float32(0.10) + glint * glint * glint * np.float32(0.16)) * paint[..., 3] * lit
    lit_planes = [plane + glint * light.key_colour[channel] for channel, plane in enumerate(planes)]
    return np.asarray(cv2.merge(lit_planes), dtype=np.float32)


def shadow(depth: Floats, light: Light, scale: float) -> Floats:
    """The unshadowed share 0.25..1 of the key light, computed at half the resolution."""
    h, w = depth.shape
    small = cv2.resize(depth, (max(w // 2, 1), max(h // 2, 1)), interpolation=cv2.INTER_NEAREST)
    hidden = np.zeros_like(small)
    for reach in SHADOW_STEPS:
        x, y, z = (reach * value for value in light.key)
        move = np.array([[1, 0, -x * scale / 2], [0, 1, -y * scale / 2]])
        nearer = cv2.warpAffine(small, move, small.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        hidden = np.maximum(hidden, np.clip((nearer - small - z - 1.5) * (1 / (3 + 0.25 * reach)), 0, 1))
    soft = cv2.GaussianBlur(hidden, (0, 0), max(1.5 * scale, 0.6))
    lit: NDArray[np.float32] = 1 - np.float32(0.75) * cv2.resize(soft, (w, h), interpolation=cv2.INTER_LINEAR)
    return lit


def shown(colour: Floats) -> Floats:
    """Linear colours as display values 0..255."""
    return np.asarray(cv2.sqrt(np.maximum(colour, 0)), dtype=np.float32) * np.float32(255)
