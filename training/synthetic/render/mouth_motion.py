"""The motion of a mouth: a `MouthShape` for each of n times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .mouth import MouthShape

Curve = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MouthMotion:
    """The five numbers of a `MouthShape` over time, each (n,) float32 in 0..1."""

    open: Curve
    wide: Curve
    round: Curve
    teeth: Curve
    tongue: Curve

    @classmethod
    def of(cls, table: NDArray[np.floating[Any]]) -> MouthMotion:
        """From a table (n, 5), clipped to 0..1."""
        return cls(*np.clip(table, 0, 1).astype(np.float32).T)

    def __len__(self) -> int:
        return len(self.open)

    def __getitem__(self, number: int) -> MouthShape:
        """The mouth at one of the times."""
        curves = (self.open, self.wide, self.round, self.teeth, self.tongue)
        return MouthShape(*(float(curve[number]) for curve in curves))
