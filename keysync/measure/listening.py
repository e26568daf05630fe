"""Hears what a sound says of the mouth."""

from __future__ import annotations

import numpy as np

from ..media.audio import hear
from ..media.source import SoundSource
from ..method import SAMPLE_RATE
from ..speech.activity import levels, pauses
from ..speech.heard_lips import heard_lips
from .sound import OUTLINE, Sound


def listen(source: SoundSource) -> Sound:
    """Hears a sound whole. Raises `KeySyncError` for one that cannot be read."""
    speech = hear(source)
    waveform = speech.samples.numpy()
    size = round(OUTLINE * SAMPLE_RATE)
    padded = np.pad(np.abs(waveform), (0, -len(waveform) % size))
    return Sound(
        name=source.name,
        seconds=speech.seconds,
        lips=heard_lips(speech.samples, speech.seconds),
        level=levels(waveform),
        pauses=pauses(speech.samples),
        outline=padded.reshape(-1, size).max(1).astype(np.float32),
        notes=speech.notes,
    )
