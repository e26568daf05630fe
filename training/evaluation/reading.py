"""What is read from one dubbed film: curves of the mouth, and distances of pixels from their source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keysync.correlation import Curve, correlation
from keysync.measure.leak import OPEN


@dataclass(frozen=True)
class Distance:
    """The distance from the same person's mouth, and the mean distance from those of others."""

    own: float
    others: float


@dataclass(frozen=True, eq=False)
class Talk:
    """Readings of a film dubbed with other speech: the openings `read` in the dub, `truth`, and `real` read in the
    ground truth's pictures, and the loudness `loud` of the speech; all (n,). `texture` and `real_texture` (n, h, w, 3)
    show the mouths. The ablations are None if they were skipped, or the system has none."""

    read: Curve
    truth: Curve
    real: Curve
    loud: Curve
    texture: Curve
    real_texture: Curve
    colour: Distance
    shape: Distance
    outside: int
    strong: Curve | None = None  # audio guidance 5
    weak: Curve | None = None  # audio guidance 1
    held: Curve | None = None  # keyframes held

    def gain_over(self, other: Curve) -> float:
        """How much the correlation with the truth exceeds that of another curve."""
        return correlation(self.read, self.truth) - correlation(other, self.truth)

    @property
    def gain_of_guidance(self) -> float:
        """How much strong audio guidance raises the correlation with the truth over weak guidance."""
        assert self.strong is not None
        assert self.weak is not None
        return correlation(self.strong, self.truth) - correlation(self.weak, self.truth)


@dataclass(frozen=True, eq=False)
class Quiet:
    """Readings of a film with a silence: aspect ratios in the silence, of the dub, its source, and dubs with the mouth
    mask, with a quiet mouth, with noisy speech and with both; openings outside the silence, read and true."""

    silent: Curve
    source: Curve
    read: Curve
    truth: Curve
    outside: int
    mouth_mask: Curve | None = None
    quiet_mouth: Curve | None = None
    noisy: Curve | None = None
    noisy_quiet_mouth: Curve | None = None

    @property
    def leak_of_mouth_mask(self) -> float:
        """The LipLeak of the mouth mask minus that of the models' own mask."""
        assert self.mouth_mask is not None
        return float(np.mean(self.mouth_mask > OPEN) - np.mean(self.silent > OPEN))


@dataclass(frozen=True)
class Undubbed:
    """A film that the system does not draw, for this reason."""

    reason: str


@dataclass(frozen=True, eq=False)
class Covered:
    """Readings of a film with an occluder: the mean absolute error of its pixels (0..255), with its mask subtracted and
    without."""

    subtracted: float
    whole: float
    outside: int
