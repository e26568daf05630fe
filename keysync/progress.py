"""How far a job is: one share from 0 to 1 over all its phases, and the time that is left.

A phase is one or two works, counted in units that take a time each (`costs.py`). What the phases so far took beside
those times corrects the ones that follow; what a phase has taken so far corrects the rest of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

FOLLOWING, SURVEY, SPEECH, DRAWING = "following the face", "looking at the face", "hearing the speech", "drawing"
OCCLUDERS = "looking for occluders"
EVALUATIONS, FRAMES = "network evaluations", "frames"
# The phases of a dub in order, and what is counted in each.
PHASES = {
    FOLLOWING: (FOLLOWING,),
    OCCLUDERS: (OCCLUDERS,),
    SURVEY: (SURVEY,),
    SPEECH: (SPEECH,),
    DRAWING: (EVALUATIONS, FRAMES),
}
# Seconds after which what was measured counts as much as the table.
BELIEVED = 0.5
# A job is not done before it says so.
ALMOST = 0.999


@dataclass(frozen=True)
class Moment:
    """How far a job is.

    `done` of `total` units of a `work` of this `phase` are done, `total` None if it is unknown; `share` of the whole
    job, 0..1, which never falls; `seconds_left` None where the work is unknown.
    """

    phase: str
    work: str
    done: int
    total: int | None
    share: float
    seconds_left: float | None


def clock_time(seconds: float) -> str:
    """Such as 0:05, 12:30 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """Such as about 5 s, about 12 min or about 3 h."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 100 * 60 else f"about {round(seconds / 3600)} h"


class Progress(Protocol):
    """Shows the progress of a job; may raise to stop it."""

    def show(self, moment: Moment) -> None: ...

    def say(self, line: str) -> None:
        """Shows a line that the user should see before the long work."""


class NoProgress:
    """Shows nothing."""

    def show(self, moment: Moment) -> None:
        pass

    def say(self, line: str) -> None:
        pass


@dataclass
class Work:
    """`total` units of `each` seconds; None if their number is unknown."""

    total: int | None
    each: float
    done: int = 0

    @property
    def seconds(self) -> float:
        return self.each * max(self.total or 0, self.done)

    @property
    def seconds_done(self) -> float:
        return self.each * self.done


class Course:
    """The phases of a job, in order, each of some works by name; tells `progress` after each step.

    Times are those of `clock`, in seconds.
    """

    def __init__(
        self,
        progress: Progress,
        phases: dict[str, tuple[str, ...]] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._progress, self._clock = progress, clock
        self._phases = PHASES if phases is None else phases
        self._works: dict[str, Work] = {}
        self._phase: str | None = None
        self._ended: set[str] = set()
        self._share = 0.0
        self._began = self._phase_began = clock()
        # Of the phases that have ended: what they took, and what the table gives them.
        self._took = self._expected = 0.0

    def expect(self, work: str, total: int | None, each: float) -> None:
        """There are `total` units of this work, None if that is unknown, of about `each` seconds."""
        done = self._works[work].done if work in self._works else 0
        self._works[work] = Work(total, each, done)

    def begin(self, phase: str) -> None:
        """A phase begins; the one before has ended."""
        now = self._clock()
        if self._phase is not None:
            self._took += now - self._phase_began
            self._expected += self._done(self._phase)
        passed = list(self._phases)
        self._ended.update(passed[: passed.index(phase)])
        self._phase, self._phase_began = phase, now
        self._show(next((work for work in self._phases[phase] if work in self._works), phase))

    def step(self, work: str, count: int = 1) -> None:
        """Some units of a work of this phase are done."""
        self._works.setdefault(work, Work(None, 0.0)).done += count
        self._show(work)

    def end(self) -> None:
        """The job is done."""
        self._ended.update(self._phases)
        self._share = 1.0
        self._show(self._phases[self._phase][-1] if self._phase else "")

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest takes, None where its work is unknown."""
        here = [] if self._phase is None or self._phase in self._ended else self._of(self._phase)
        if any(work.total is None for work in here):
            return None
        spent = self._clock() - self._phase_began
        done, whole = sum(work.seconds_done for work in here), sum(work.seconds for work in here)
        # At first by all that is done, then more and more by this phase alone: steps may come in bursts.
        pace = (self._took + spent + BELIEVED) / (self._expected + done + BELIEVED)
        rest = max(0.0, whole - done) * (spent + pace * BELIEVED) / (done + BELIEVED)
        following = [phase for phase in self._phases if phase not in self._ended and phase != self._phase]
        return rest + pace * sum(work.seconds for phase in following for work in self._of(phase))

    def _of(self, phase: str) -> list[Work]:
        return [self._works[name] for name in self._phases[phase] if name in self._works]

    def _done(self, phase: str) -> float:
        return sum(work.seconds_done for work in self._of(phase))

    def _show(self, name: str) -> None:
        left = self.seconds_left
        spent = self._clock() - self._began
        if left is not None and spent + left > 0:
            self._share = max(self._share, min(spent / (spent + left), ALMOST))
        work = self._works.get(name, Work(None, 0.0))
        self._progress.show(Moment(self._phase or "", name, work.done, work.total, self._share, left))
