"""Animates the films and reads the results."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from keysync.animate import animate_file
from keysync.dub import Settings
from keysync.face.track import from_landmarks
from keysync.job import FaceSource
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory
from keysync.method import NETWORK_RATE
from keysync.systems.keyface.emotion import Emotion
from keysync.systems.renderer import Renderer

from ...data.preparation.encode import write_sound
from ...synthetic.heads import cropped
from ...synthetic.measure.head_meter import HeadMeter, HeadReadings

if TYPE_CHECKING:
    from .film import HeadFilm

CELLS = (8, 8)  # grid of a crop; colours are averaged per cell
SECOND = NETWORK_RATE


@dataclass(frozen=True, eq=False)
class Animated:
    """What the meter reads in a generated film and in the true one, the true opening, and the emotion (n, 2) asked."""

    sound: str
    read: HeadReadings
    real: HeadReadings
    opening: NDArray[np.float32]
    asked: NDArray[np.float64]


@dataclass(frozen=True)
class Lasting:
    """Of a long film: how far colour and shape drift from its first second to its last, and in the truth from the first
    to the second; the change from frame to frame at the joints of windows over that elsewhere."""

    colour: float
    true_colour: float
    shape: float
    true_shape: float
    joints: float


def animate(models: Renderer, film: HeadFilm) -> NDArray[np.uint8]:
    """The frames (n, h, w, 3) of the result, lossless."""
    pictures = film.portrait.pictures
    height, width = pictures.frames.shape[1:3]
    picture = FramesInMemory("portrait", pictures.frames[:1], Fraction(NETWORK_RATE))
    face = FaceSource(track=from_landmarks([pictures.landmarks[0]], (height, width)))
    emotion = Emotion(film.asked, np.arange(film.frames) / NETWORK_RATE)
    with tempfile.TemporaryDirectory(prefix="keysync-evaluate-") as folder:
        write_sound(torch.from_numpy(film.said.waveform), 0, film.frames, Path(folder), "speech")
        output = Path(folder) / "output.mkv"
        speech = Path(folder) / "speech.flac"
        animate_file(picture, speech, output, models, emotion, Settings(), face, lossless=True)
        return np.stack([frame for _, frame in VideoReader(output).frames()])


def read_talking(models: Renderer, meter: HeadMeter, film: HeadFilm) -> Animated:
    """Animates a film and reads it; the readings are corrected by the picture that is animated, which is neutral."""
    picture = meter.read(cropped(film.portrait, film.resolution))
    films = animate(models, film), film.crops
    read, real = (meter.read(crops).steady().corrected(picture, 0.0, 0.0) for crops in films)
    return Animated(film.sound, read, real, film.opening, film.asked)


def read_lasting(models: Renderer, film: HeadFilm, window: int) -> Lasting:
    """Animates a long film, whose windows share every (window - 1)-th frame, and measures how it holds."""
    made = animate(models, film)
    true = cropped(film.true(2 * SECOND), film.resolution)
    colour, shape = drift(made[:SECOND], made[-SECOND:])
    true_colour, true_shape = drift(true[:SECOND], true[SECOND:])
    return Lasting(colour, true_colour, shape, true_shape, joints(made, window - 1))


def drift(first: NDArray[np.uint8], last: NDArray[np.uint8]) -> tuple[float, float]:
    """How far the mean pictures of two stretches (n, h, w, 3) are apart: in colour, 0..255, averaged in cells, and in
    shape, of grey pictures normalised to contrast 1."""
    means = torch.stack([torch.from_numpy(part).float().mean(0).permute(2, 0, 1) for part in (first, last)])
    colours = F.adaptive_avg_pool2d(means, CELLS)
    grey = means.mean(1)
    centred = grey - grey.mean((1, 2), keepdim=True)
    shapes = centred / centred.std((1, 2), keepdim=True).clamp_min(1.0)
    one, other = ((part[0] - part[1]).square().mean().sqrt() for part in (colours, shapes))
    return float(one), float(other)


def joints(frames: NDArray[np.uint8], step: int) -> float:
    """The mean change to and from the frames that two windows share, over that between all others."""
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    numbers = np.arange(len(change))
    at = (numbers % step == step - 1) | (numbers % step == 0)
    at[: step - 1] = False  # the first frame is no joint
    return float(change[at].mean() / max(change[~at].mean(), 1e-6))
