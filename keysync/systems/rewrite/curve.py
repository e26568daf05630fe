"""The mouth that a curve asks for, in the units of a face mesh: amplitudes of ordinary speech, within what a clip has.

Curves are of `speech.lips`: opening 0 closed to 1 for a wide vowel; width and roundness 0 at rest, -1 to 1. Lengths are
in eye distances, as `face.mouth` measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import KeySyncError
from ...face.mouth import MEASURED
from ...speech.lips_channels import LIPS

# The gap between the lips in a wide vowel of ordinary speech, and how much the mouth widens and narrows. Measured on
# clips of 13 speakers: the medians of their 95th percentiles of opening, and of those of width beyond its median.
WIDE_OPEN, WIDER = 0.175, 0.04
# The same of roundness and of the jaw, as `face.mouth` measures them: medians over 12 clips.
ROUNDER, LOWERED = 0.125, 0.09
# Percentiles of a clip's openings and widths between which a wanted mouth stays.
OFFERED = 1.0, 98.0
# What is wanted of a mouth, as `face.mouth` names it.
WANTED = MEASURED[:2]


@dataclass(frozen=True)
class Amplitude:
    """What a clip offers: `opening` and `width` (least, most), and its `rest` width, in eye distances."""

    opening: tuple[float, float]
    width: tuple[float, float]
    rest: float

    @classmethod
    def of(cls, measures: NDArray[np.float32]) -> Amplitude:
        """From the mouths (k, 4) of `face.mouth.measure` of one person."""
        low, high = np.percentile(measures[:, :2], OFFERED, axis=0).tolist()
        return cls((low[0], high[0]), (low[1], high[1]), float(np.median(measures[:, 1])))

    def wanted(self, opening: NDArray[np.float32], width: NDArray[np.float32], strength: float) -> NDArray[np.float64]:
        """Opening and width (n, 2) in eye distances for curves (n,) of `speech.lips`, `strength` times as strong."""
        least, most = self.opening
        # A clip that offers less shows all movements smaller: cut off, its mouth would stand still in every vowel.
        gap = least + np.maximum(opening, 0) * min(strength * WIDE_OPEN, most - least)
        broad = self.rest + width * strength * WIDER
        return np.stack([np.clip(gap, least, most), np.clip(broad, *self.width)], axis=-1)


def as_lips(measures: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lips (n, 5) of `speech.lips`, read from mouths (n, 4) of `face.mouth.measure` of one person.

    The reverse of `Amplitude.wanted` at strength 1: movements keep their size, whoever follows them. The least opening
    counts as closed, the median width and roundness as rest. Teeth are not measured: 0. Frames of NaN are filled from
    those around them. Raises `KeySyncError` where all are NaN.
    """
    known = np.isfinite(measures).all(1)
    if not known.any():
        raise KeySyncError(f"no face was found in the {len(measures)} frames: use frames that show one from the front")
    frames = np.arange(len(measures))
    opening, width, roundness, jaw = (np.interp(frames, frames[known], column[known]) for column in measures.T)
    channels = {
        "opening": np.maximum(opening - np.percentile(opening, OFFERED[0]), 0) / WIDE_OPEN,
        "width": (width - np.median(width)) / WIDER,
        "roundness": (roundness - np.median(roundness)) / ROUNDER,
        "jaw": np.maximum(jaw - np.percentile(jaw, OFFERED[0]), 0) / LOWERED,
        "teeth": np.zeros(len(measures)),
    }
    return np.stack([channels[name] for name in LIPS], 1).astype(np.float32)
