"""Which of a bank's mouths each frame shows: a Viterbi search that decides a fixed number of frames behind.

What is decided depends on the frames up to `AHEAD` later and on nothing else, so the picks are the same in whatever
portions the frames arrive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# Frames that a decision looks ahead.
AHEAD = 12
# Differences that each cost 1: opening and width in eye distances, turn in radians, log scale, log light.
OPENING, WIDTH, TURN, SCALE, LIGHT = 0.02, 0.04, 0.12, 0.15, 0.2
# No pose or light costs more: among far poses the mouth decides.
MOST_POSE = 8.0
# What a change to a frame that does not follow costs: at all, and for each eye distance that the lips jump on average.
JUMP, LIPS = 0.6, 25.0


@dataclass(frozen=True, eq=False)
class Looks:
    """What mouths or heads are chosen by: `turn` (n, 3), log `scale` (n,) and log `light` (n,)."""

    turn: Numbers
    scale: Numbers
    light: Numbers


@dataclass(frozen=True, eq=False)
class Mouths:
    """k mouths to choose from: `measures` (k, 2) opening and width, `lips` (k, p, 2) their points in the reference
    pose, `looks` of their heads and their frame's `number` (k,), which rises."""

    measures: Numbers
    lips: Numbers
    looks: Looks
    number: NDArray[np.int64]

    def transitions(self) -> Numbers:
        """What it costs to show mouth j after mouth i: (k, k), 0 for the frame that follows and the same frame again
        little more."""
        k = len(self.number)
        flat = self.lips.reshape(k, -1)
        after = np.minimum(np.arange(k) + 1, k - 1)
        apart = np.sqrt(np.maximum(_squares(flat[after], flat), 0) / self.lips.shape[1])
        follows = np.zeros((k, k), dtype=bool)
        steps = np.flatnonzero(np.diff(self.number) == 1)
        follows[steps, steps + 1] = True
        return np.where(
            follows,
            0.0,
            JUMP + LIPS * np.minimum(apart, np.sqrt(np.maximum(_squares(flat, flat), 0) / self.lips.shape[1])),
        )


class Chooser:
    """Takes frames one by one and tells picks, `AHEAD` frames later or at the end."""

    def __init__(self, mouths: Mouths) -> None:
        self._mouths, self._transitions = mouths, mouths.transitions()
        self._cost: Numbers | None = None
        # For each undecided frame after the first, the mouth before each mouth.
        self._back: deque[NDArray[np.int64]] = deque()

    def add(self, wanted: Numbers, turn: Numbers, scale: float, light: float) -> int | None:
        """The next frame: its wanted opening and width (2,), its head's turn (3,), log scale and log light.

        The pick of the frame `AHEAD` before, None while there is none.
        """
        cost = self._emission(wanted, turn, scale, light)
        if self._cost is None:
            self._cost = cost
            return None
        through = self._cost[:, None] + self._transitions
        before = through.argmin(0)
        self._back.append(before)
        self._cost = through[before, np.arange(len(before))] + cost
        return self._decide() if len(self._back) == AHEAD else None

    def finish(self) -> list[int]:
        """The picks of the frames that are left."""
        if self._cost is None:
            return []
        at = int(self._cost.argmin())
        picks = [at]
        for before in reversed(self._back):
            at = int(before[at])
            picks.append(at)
        self._cost = None
        self._back.clear()
        return picks[::-1]

    def _decide(self) -> int:
        """The pick of the oldest frame on the best path; the paths through others end."""
        assert self._cost is not None
        origin = np.arange(len(self._cost))
        for before in reversed(self._back):
            origin = before[origin]
        pick = int(origin[self._cost.argmin()])
        self._cost = np.where(origin == pick, self._cost, np.inf)
        self._cost -= self._cost.min()
        self._back.popleft()
        return pick

    def _emission(self, wanted: Numbers, turn: Numbers, scale: float, light: float) -> Numbers:
        looks = self._mouths.looks
        mouth = (((self._mouths.measures - wanted) / (OPENING, WIDTH)) ** 2).sum(1)
        pose = (((looks.turn - turn) / TURN) ** 2).sum(1) + ((looks.scale - scale) / SCALE) ** 2
        cost: Numbers = mouth + np.minimum(pose + ((looks.light - light) / LIGHT) ** 2, MOST_POSE)
        return cost


def _squares(a: Numbers, b: Numbers) -> Numbers:
    """Squared distances (n, m) between rows."""
    squares: Numbers = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return squares
