"""A row of the table: a figure, its interval, and the bound that the whole interval, or the figure, must satisfy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..synthetic.measure.metrics import Estimate

ABOVE_ZERO = 1e-6  # lower bound that stands for "> 0"


@dataclass(frozen=True)
class Row:
    """`key` names it in JSON. A row without bounds is for comparison and always holds.

    So does one without an estimate, which does not apply to the system. `whole_interval`: the bound is for the whole
    interval, else for the figure alone.
    """

    key: str
    title: str
    estimate: Estimate | None
    low: float = -np.inf
    high: float = np.inf
    whole_interval: bool = True

    @property
    def value(self) -> float | None:
        """The figure, None where it does not apply."""
        return None if self.estimate is None else self.estimate.value

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low) or np.isfinite(self.high))

    @property
    def holds(self) -> bool:
        """Whether the whole interval, or the figure, satisfies the bound."""
        if self.estimate is None:
            return True
        if self.whole_interval:
            return self.estimate.within(self.low, self.high)
        return self.low <= self.estimate.value <= self.high

    @property
    def bound(self) -> str:
        """The bound as text; empty if there is none."""
        if not self.bounded:
            return ""
        if self.low == self.high:
            return f"= {self.low:g}"
        if not np.isfinite(self.low):
            return f"<= {self.high:g}"
        if not np.isfinite(self.high):
            return "> 0" if self.low == ABOVE_ZERO else f">= {self.low:g}"
        return f"{self.low:g} .. {self.high:g}"
