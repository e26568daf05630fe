"""Who speaks: whose mouth opens as the sound says.

The lips that are read from a sound (see `speech.lips`) open when its speaker's do. How well a mouth agrees is the
correlation of both openings, at the best of a few lags: files have sound that is slightly early or late.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..correlation import correlation
from .association import Person
from .face import Points

Row = NDArray[np.float64]

# Seconds by which the sound may be early or late, and of the Gaussian that takes the jitter of points from openings.
LAG, SMOOTH = 0.12, 0.04
# Seconds that are too short to tell, and of the windows in which the speaker is looked for.
SHORTEST, WINDOW = 1.0, 2.0
# A mouth that agrees less does not speak. On real clips the speaker's has 0.45 to 0.98, another's 0.16 in the mean.
LEAST = 0.3
INNER = ((61, 67), (62, 66), (63, 65))
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)


def opening(landmarks: Points) -> Row:
    """The opening (n,) of mouths with points (n, 68, 2), in distances of the eyes; NaN where points are."""
    points = np.asarray(landmarks, np.float64)
    eyes = np.linalg.norm(points[:, RIGHT_EYE].mean(1) - points[:, LEFT_EYE].mean(1), axis=-1)
    gaps = [np.linalg.norm(points[:, upper] - points[:, lower], axis=-1) for upper, lower in INNER]
    row: Row = np.mean(gaps, axis=0) / np.maximum(eyes, 1e-6)
    return row


def agreement(mouth: Row, said: Row, rate: float, lag: float = LAG) -> float:
    """How well a mouth's opening (n,) agrees with the one that the sound says (n,), -1..1, at `rate` frames a second.

    It is the best where the sound is up to `lag` seconds early or late. Frames in which the mouth is not seen are NaN.
    0 where less than a second is seen.
    """
    seen = np.isfinite(mouth)
    if seen.sum() < SHORTEST * rate:
        return 0.0
    best, reach = -1.0, round(lag * rate)
    mouth, said = smooth(mouth, SMOOTH * rate), smooth(said, SMOOTH * rate)
    for later in range(-reach, reach + 1):
        # Frames whose sound, so many frames later, is known.
        frames = np.flatnonzero(seen)
        frames = frames[(frames + later >= 0) & (frames + later < len(said))]
        best = max(best, correlation(mouth[frames], said[frames + later]))
    return best


def mouth_of(person: Person, frames: int) -> Row:
    """The opening of a person's mouth in each of so many frames, NaN where it is not seen."""
    row = np.full(frames, np.nan)
    numbers = list(person.faces)
    if numbers:
        row[numbers] = opening(np.stack([face.landmarks for face in person.faces.values()]))
    return row


def turns(people: Sequence[Person], said: Row, rate: float) -> NDArray[np.int64]:
    """The number of the person who speaks in each frame (n,), -1 where no one does.

    In windows around each half second, the speaker is the one whose mouth agrees best, and at least `LEAST`.
    """
    frames, step, half = len(said), max(1, round(rate / 2)), round(WINDOW * rate / 2)
    speaker = np.full(frames, -1, np.int64)
    mouths = [mouth_of(person, frames) for person in people]
    for start in range(0, frames, step):
        middle = start + step // 2
        window = slice(max(0, middle - half), middle + half)
        scores = [agreement(mouth[window], said[window], rate) for mouth in mouths]
        if scores and max(scores) >= LEAST:
            speaker[start : start + step] = int(np.argmax(scores))
    return speaker


def smooth(row: Row, width: float) -> Row:
    """A row (n,) averaged by a Gaussian of `width` frames over what is not NaN, which stays NaN."""
    reach = max(1, round(3 * width))
    kernel = np.exp(-((np.arange(-reach, reach + 1) / max(width, 1e-6)) ** 2) / 2)
    seen = np.isfinite(row)
    sums, weights = (
        np.convolve(np.pad(part, reach), kernel, "valid")
        for part in (np.where(seen, row, 0.0), seen.astype(np.float64))
    )
    averaged: Row = np.where(seen, sums / np.maximum(weights, 1e-9), np.nan)
    return averaged
