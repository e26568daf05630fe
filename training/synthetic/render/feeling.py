"""What a feeling does to a face: valence to the mouth's corners and the inner brows, arousal to brows and eyes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .camera import Pose
from .mouth import MouthShape

# Of arousal 1: mm by which the brows rise, and the share by which the eyes open further.
RAISED, WIDENED = 5.5, 0.45
# Of valence -1: mm by which the inner ends of the brows are lowered.
FROWNED = 4.5
# Seconds between the keys of a curve, and the share of curves that stay as they are.
KEYS, STEADY = (1.5, 4.0), 0.3


@dataclass(frozen=True)
class Feeling:
    """Valence and arousal, each -1..1, of one frame."""

    valence: float = 0.0
    arousal: float = 0.0

    def pose(self, pose: Pose) -> Pose:
        """The pose with this feeling in brows and eyes."""
        return replace(
            pose,
            brows=pose.brows + RAISED * self.arousal,
            frown=pose.frown + FROWNED * max(-self.valence, 0.0),
            widened=pose.widened + WIDENED * self.arousal,
        )

    def mouth(self, mouth: MouthShape) -> MouthShape:
        """The mouth with this feeling in its corners."""
        return replace(mouth, smile=self.valence)


def feelings(rng: np.random.Generator, frames: int, rate: float = 25.0) -> tuple[Feeling, ...]:
    """A random curve for consecutive frames: straight lines between keys that are drawn evenly from the square."""
    seconds = np.arange(frames) / rate
    keys = [0.0]
    while keys[-1] < (0.0 if rng.random() < STEADY else seconds[-1]):
        keys.append(keys[-1] + float(rng.uniform(*KEYS)))
    values = rng.uniform(-1, 1, (len(keys), 2))
    valence, arousal = (np.interp(seconds, keys, column) for column in values.T)
    return tuple(Feeling(float(v), float(a)) for v, a in zip(valence, arousal, strict=True))
