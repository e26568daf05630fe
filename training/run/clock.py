"""The clock of a run: the clips that it has seen.

Steps are a measure of time only as long as the batch stays the same, which a run that resumes on other machines cannot
keep to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Clock:
    """`done` optimiser steps saw `clips` clips; `unit` is the number of clips of a step when the run began.

    Settings that are given in steps (the length of the run, its warm-up, the memory of averaged weights) mean steps of
    that many clips: with another batch the run learns by the same schedule and ends after the same clips.
    """

    done: int
    clips: int
    unit: int

    @property
    def steps(self) -> float:
        """The time in steps of `unit` clips, which is `done` while the batch is that of the beginning."""
        return self.clips / self.unit

    @property
    def whole_steps(self) -> int:
        """`steps`, rounded down."""
        return self.clips // self.unit

    def after(self, clips: int) -> Clock:
        """The clock after one more optimiser step of that many clips."""
        return replace(self, done=self.done + 1, clips=self.clips + clips)
