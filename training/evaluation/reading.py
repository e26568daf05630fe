"""What is read from one dubbed film: curves of the mouth, and distances of pixels from their source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..synthetic.measure.metrics import OPEN, Curve, correlation


@dataclass(frozen=True)
class Distance:
    """From the same person's mouth, and from another's: the mean over some others."""

    own: float
    others: float


@dataclass(frozen=True, eq=False)
class Talk:
    """Of a film whose person says something else: `read` and `truth` are openings, `real` those read from the truth's
    own pictures, and `loud` is how loud the speech is; all (n,). `texture` and `real_texture` (n, h, w, 3) show the
    mouths. What the ablations give is None where they were left out."""

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
        """How much better the mouth follows than another curve does."""
        return correlation(self.read, self.truth) - correlation(other, self.truth)

    @property
    def gain_of_guidance(self) -> float:
        """How much better the mouth follows under strong audio guidance than under weak."""
        assert self.strong is not None
        assert self.weak is not None
        return correlation(self.strong, self.truth) - correlation(self.weak, self.truth)


@dataclass(frozen=True, eq=False)
class Quiet:
    """Of a film whose person falls silent: aspect ratios in the silence, of the dub, its source, and of the dub with
    the mouth mask; openings while the person talks, read and true."""

    silent: Curve
    source: Curve
    read: Curve
    truth: Curve
    outside: int
    mouth_mask: Curve | None = None

    @property
    def leak_of_mouth_mask(self) -> float:
        """The share of silent frames in which the mouth mask leaks and the models' own does not, less the reverse."""
        assert self.mouth_mask is not None
        return float(np.mean(self.mouth_mask > OPEN) - np.mean(self.silent > OPEN))


@dataclass(frozen=True, eq=False)
class Covered:
    """Of a film in which something crosses the mouth: how far its pixels (0..255) are from where they were, on average,
    with the thing's mask subtracted and without."""

    subtracted: float
    whole: float
    outside: int
