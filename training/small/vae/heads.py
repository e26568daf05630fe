"""Crops of rendered talking heads for training a VAE: head and shoulders, with feelings, as KeyFace makes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keysync.face.crop import crop, crop_boxes, to_crop
from keysync.face.track import from_landmarks

from ...synthetic.heads import CROP_SCALE
from ...synthetic.render.feeling import Feeling
from ...synthetic.render.mouth import MouthShape
from ...synthetic.render.shot import Shot
from .crops import APART, PersonCrops
from .loss import KEPT_WEIGHT, MOUTH, MOUTH_WEIGHT, part_box

FRAMES = 16  # of each person
LIVELINESS = 0.7  # more than of `synthetic.heads`, so that poses differ
EYES = (slice(17, 22), slice(36, 42)), (slice(22, 27), slice(42, 48))  # landmarks of a brow and its eye
EYE_WEIGHT = 12.0  # of a pixel of brows and eyes


def render_head(number: int, size: int) -> PersonCrops:
    """A person's head with a random mouth and a random feeling in each frame."""
    seeds, count, side = (number, 0x76616568), FRAMES * APART, 2 * size
    rng = np.random.default_rng(seeds)
    felt = tuple(Feeling(*pair) for pair in rng.uniform(-1, 1, (count, 2)).tolist())
    shot = Shot(seeds, count, side, feelings=felt, liveliness=LIVELINESS)
    shown = range(0, count, APART)
    mouths = {frame: MouthShape.sample(rng) for frame in shown}
    made = shot.draw([mouths.get(frame, MouthShape()) for frame in range(count)], shown)
    box = crop_boxes(from_landmarks([made.landmarks[0]], (side, side)), 0, 1, CROP_SCALE)[0]
    pictures = [crop(frame, box, (size, size)).mul(255).round().byte().numpy() for frame in made.frames]
    landmarks = [to_crop(points, box, (size, size)).numpy() for points in made.landmarks]
    return PersonCrops(np.stack(pictures), np.stack(landmarks))


def head_weights(landmarks: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The weights (side, side) of a crop's pixels: highest at mouth, eyes and brows, lowest outside the face."""
    weights = np.full((side, side), KEPT_WEIGHT, dtype=np.float32)
    parts = [(landmarks, 1.0)]
    parts += [(np.concatenate([landmarks[points] for points in eye]), EYE_WEIGHT) for eye in EYES]
    parts += [(landmarks[MOUTH], MOUTH_WEIGHT)]
    for points, weight in parts:
        left, top, right, bottom = part_box(points, side)
        weights[top:bottom, left:right] = weight
    return weights
