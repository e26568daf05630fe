"""A lips curve as a value: measured, edited and drawn, and followed instead of speech.

Its channels and their units are those of `LIPS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import KeySyncError
from .curve import Curve
from .curve import Values as Values
from .lips_channels import LIPS as LIPS
from .lips_channels import POSITIVE as POSITIVE
from .lips_channels import WIDTHS


@dataclass(frozen=True, eq=False)
class LipsCurve(Curve):
    """`values` (frames, 5) float32 in the order of `LIPS`, `fps` frames a second from time 0.

    Raises `KeySyncError` for another shape, for numbers that are not finite and for a rate that is not positive.
    """

    title: ClassVar[str] = "the lips curve"

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 2 or shape[1] != len(LIPS) or not shape[0]:
            raise KeySyncError(
                f"the lips curve has shape {list(shape)}: expected one or more frames of {len(LIPS)} values "
                f"({', '.join(LIPS)})"
            )
        super().__post_init__()

    def strengthened(self, opening: float, width: float) -> LipsCurve:
        """Opening, jaw and teeth `opening` times as strong, width and roundness `width` times."""
        factors = np.ones(len(LIPS), np.float32)
        factors[POSITIVE], factors[WIDTHS] = opening, width
        return replace(self, values=self.values * factors)

    def closed_below(self, opening: float) -> LipsCurve:
        """Closed where the opening is below `opening`, unchanged from twice that on, and steady in between."""
        if opening <= 0:
            return self
        values = self.values.copy()
        values[:, POSITIVE] *= np.clip(values[:, LIPS.index("opening")] / opening - 1, 0, 1)[:, None]
        return replace(self, values=values)
