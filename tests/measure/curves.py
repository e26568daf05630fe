"""A measured video that needs no pictures: the mouth does what the sound asks for, two frames late."""

from __future__ import annotations

from functools import cache

import numpy as np

from keysync.demo import SPEECH
from keysync.face.mouth import MEASURED
from keysync.measure.change import Change
from keysync.measure.figures import Measured
from keysync.measure.listening import listen
from keysync.measure.mouths import Mouths
from keysync.measure.sound import Sound
from keysync.media.audio import read_speech
from keysync.media.source import SoundInMemory
from keysync.method import SAMPLE_RATE
from keysync.speech.lips_curve import LIPS

FRAMES, LATE = 100, 2


@cache
def sound() -> Sound:
    """Three seconds of speech, and one of silence."""
    said = read_speech(SPEECH)[0].numpy()[: 3 * SAMPLE_RATE]
    return listen(SoundInMemory("speech", np.pad(said, (0, SAMPLE_RATE))[None], SAMPLE_RATE))


def mouths(late: int = LATE, size: float = 0.15) -> Mouths:
    """The mouths that the sound asks for; frame 5 shows no face, and in the silence one frame in four is open."""
    asked = sound().lips_at(np.arange(FRAMES) / 25)
    shape = np.zeros((FRAMES, len(MEASURED)))
    shape[:, 0] = size * np.roll(asked[:, LIPS.index("opening")], late)
    shape[:, 1] = 0.5 + 0.04 * np.roll(asked[:, LIPS.index("width")], late)
    ratio = 2 * shape[:, 0]
    ratio[88:100:4] = 0.4
    shape[5], ratio[5] = np.nan, np.nan
    return Mouths(shape, ratio, np.full(FRAMES, 50.0))


def measured_talk(change: Change | None = None, source: Mouths | None = None) -> Measured:
    """The talk, measured."""
    return Measured.of("talk.mp4", np.arange(FRAMES) / 25, mouths(), sound(), source, change)
