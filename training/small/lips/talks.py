"""Talks with their true lips: synthetic speech through all kinds of microphones, as the built-in Whisper hears it.

espeak-ng's phonemes give the mouth of a rendered head; here it becomes what `keysync.face.mouth` measures on real ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from torch import Tensor

from keysync.method import NETWORK_RATE, SAMPLE_RATE
from keysync.speech.encoder import SpeechEncoder

from ...synthetic.render.mouth_motion import MouthMotion
from ...synthetic.voice.corpus import Corpus
from ...synthetic.voice.microphone import Microphone
from ..encoder.lesson import example

log = logging.getLogger(__name__)

SECONDS = 28  # of a talk: as much as Whisper hears at once, and some of the silence that follows
SILENT = 6  # one talk in so many has nothing but the microphone's noise
# The jaw follows the lips, and their mean over so many frames.
SLOW = 9
# Spread lips open further than the head's, pursed ones less, as people's do.
SPREAD = 0.8
# Of lips at rest, in eye distances, as measured on people: height from outer lip to outer lip, and width; and how much
# a full opening adds to the height, and a full spread to the width.
HEIGHT, WIDTH, MORE_HEIGHT, MORE_WIDTH = 0.22, 0.53, 0.20, 0.06
# Opening from which teeth are seen as far as they are bare.
BARED = 0.15


@dataclass(frozen=True, eq=False)
class Talks:
    """Of n talks: rows (n, f, 2, c) float16 of the encoder, and curves (n, f, 5) in the order of `LIPS`."""

    rows: Tensor
    curves: Tensor


def make_talks(encoder: SpeechEncoder, corpus: Corpus, count: int, seed: int) -> Talks:
    """`count` talks of a corpus; a function of its arguments."""
    rows, curves = [], []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        if number % SILENT == SILENT - 1:
            sound, curve = silence(rng), np.zeros((SECONDS * NETWORK_RATE, 5), np.float32)
        else:
            sound, said, times = example(corpus, rng, SECONDS)
            # Rows 2 f and 2 f + 1 of a lesson are a quarter of a frame before and after the middle of frame f.
            pace = times[1] - times[0]
            middle = times[0] + pace * (2 * np.arange(SECONDS * NETWORK_RATE) + 0.5)
            curve = lips_of(said.mouth(middle))
        rows.append(encoder.encode(torch.from_numpy(sound)).frames.half())
        curves.append(torch.from_numpy(curve))
        if number % 100 == 99:
            log.info("%d of %d talks", number + 1, count)
    return Talks(torch.stack(rows), torch.stack(curves))


def silence(rng: np.random.Generator) -> NDArray[np.float32]:
    """Silence through a microphone: its noise, from a whisper to none at all, which begins and ends somewhere."""
    count = SECONDS * SAMPLE_RATE
    quiet = np.zeros(count, np.float32)
    if rng.random() < 0.25:
        return quiet
    level = float(rng.uniform(-70, 0))
    microphone = Microphone(noise=float(rng.uniform(0, 2)), snr=10.0, gain=level, seed=int(rng.integers(1 << 30)))
    noise = microphone.hear(quiet, count)
    noise[: int(rng.integers(0, count // 4))] = 0
    noise[int(rng.integers(count // 3, count)) :] = 0
    return noise


def lips_of(motion: MouthMotion) -> NDArray[np.float32]:
    """The lips curve (f, 5) of a rendered head's mouth, in the order of `LIPS`, before it is scaled."""
    width = motion.wide - motion.round
    opening = motion.open * (1 + SPREAD * width)
    jaw = (opening + uniform_filter1d(opening, SLOW, mode="nearest")) / 2
    roundness = (HEIGHT + MORE_HEIGHT * opening) / (WIDTH + MORE_WIDTH * width) - HEIGHT / WIDTH
    teeth = motion.teeth * np.clip(motion.open / BARED, 0, 1)
    return np.stack([opening, width, roundness, jaw, teeth], -1).astype(np.float32)
