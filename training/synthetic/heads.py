"""Talking heads of the rendered world, for KeyFace: crops that stand still, faces that feel, sounds beside speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keysync.face.crop import crop, crop_boxes
from keysync.face.track import from_landmarks
from keysync.method import NETWORK_RATE

from .render.feeling import Feeling, feelings
from .render.shot import Pictures, Shot
from .voice.corpus import speaker
from .voice.sentences import TRAIN
from .voice.sounds import laugh, sigh, with_sound
from .voice.speech import Utterance

# The width of the crop over that of the face's points: less than head and shoulders, so that the face has more latents.
CROP_SCALE = 1.6
# The size of the head's motion: all of it stays in the crop.
LIVELINESS = 0.4
LAUGHING, SIGHING = 0.25, 0.15  # shares of the clips


@dataclass(frozen=True, eq=False)
class Head:
    """Drawn frames of a talking head, the box (3,) of all its crops, and valence and arousal of each frame (n, 2)."""

    pictures: Pictures
    box: NDArray[np.int64]
    emotion: NDArray[np.float32]


def with_sounds(said: Utterance, seed: int, number: int, split: str = TRAIN) -> Utterance:
    """The speech of a clip, in some clips with a laugh in the same voice, or a sigh, in one of its pauses."""
    rng = np.random.default_rng((seed, number, 0x736967))
    kind = rng.random()
    if kind < LAUGHING:
        return with_sound(said, laugh(rng, speaker(split, seed, number)))
    return with_sound(said, sigh(rng)) if kind < LAUGHING + SIGHING else said


def head(
    seeds: tuple[int, ...],
    said: Utterance,
    frames: int,
    resolution: int,
    drawn: Sequence[int],
    felt: tuple[Feeling, ...] | None = None,
    scale: float = CROP_SCALE,
) -> Head:
    """The `drawn` frames of a person of `frames` frames who says `said`, for crops `resolution` pixels wide.

    The box is that of the first drawn frame, as that of a portrait is, `scale` times as wide as the face. Without
    `felt` the feelings are random.
    """
    felt = felt or feelings(np.random.default_rng((*seeds, 0x66656C)), frames, NETWORK_RATE)
    side = 2 * resolution
    shot = Shot(seeds, frames, side, feelings=felt, liveliness=LIVELINESS)
    motion = said.mouth((np.arange(frames) + 0.5) / NETWORK_RATE)
    pictures = shot.draw([motion[number] for number in range(frames)], drawn)
    box = crop_boxes(from_landmarks([pictures.landmarks[0]], (side, side)), 0, 1, scale)[0]
    emotion = np.array([(felt[number].valence, felt[number].arousal) for number in drawn], dtype=np.float32)
    return Head(pictures, box, emotion)


def cropped(made: Head, resolution: int) -> NDArray[np.uint8]:
    """The crops (n, resolution, resolution, 3) of a head's frames."""
    size = (resolution, resolution)
    parts = [crop(frame, made.box, size).mul(255).round().byte().numpy() for frame in made.pictures.frames]
    return np.stack(parts)
