"""Ratings by votes on pairs of systems, with the interval of a bootstrap over the votes.

Elo's scale: 400 points make odds of ten to one. Ratings are fitted to all votes at once (Bradley and Terry), so that
their order does not matter, with a mean of 1000 as in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...synthetic.measure.metrics import Estimate

MEAN, POINTS = 1000.0, 400.0
RESAMPLES = 1000
# Newton's steps, of at most so much each, in natural logarithms of the odds.
STEPS, MOST, SETTLED = 100, 2.0, 1e-9
# Votes that each pair of systems begins with, half for either: a system that never lost has a finite rating too.
PRIOR = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Vote:
    """Whether `left` was preferred over `right`: 1, 0, or 0.5 where neither was."""

    protocol: str
    left: str
    right: str
    share: float


def elo(votes: Sequence[Vote], seed: int = 0) -> dict[str, Estimate]:
    """The rating of each system in the votes, and its 95 % interval; empty without votes."""
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    if not names:
        return {}
    places = {name: number for number, name in enumerate(names)}
    pairs = np.array([(places[vote.left], places[vote.right]) for vote in votes])
    shares = np.array([vote.share for vote in votes])
    whole = ratings(won(pairs, shares, len(names)))
    drawn = np.random.default_rng(seed).integers(0, len(votes), (RESAMPLES, len(votes)))
    again = ratings(np.stack([won(pairs[one], shares[one], len(names)) for one in drawn]))
    low, high = np.percentile(again, (2.5, 97.5), axis=0)
    return {name: Estimate(*map(float, (whole[at], low[at], high[at]))) for name, at in places.items()}


def won(pairs: NDArray[np.int64], shares: Floats, systems: int) -> Floats:
    """(systems, systems): how often the row's system won over the column's, of votes on pairs (n, 2) of numbers."""
    table = np.full((systems, systems), PRIOR / 2)
    np.add.at(table, (pairs[:, 0], pairs[:, 1]), shares)
    np.add.at(table, (pairs[:, 1], pairs[:, 0]), 1 - shares)
    np.fill_diagonal(table, 0)
    return table


def ratings(wins: Floats) -> Floats:
    """The ratings (..., n) that make wins (..., n, n) most likely, by Newton's method."""
    games, count = wins + wins.swapaxes(-1, -2), wins.shape[-1]
    strength = np.zeros(wins.shape[:-1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(strength[..., None, :] - strength[..., :, None]))  # that the row's system wins
        slope = (wins - games * chance).sum(-1)
        weight = games * chance * (1 - chance)
        curvature = np.eye(count) * weight.sum(-1)[..., None] - weight
        # Only differences count: 1 / n holds the mean still.
        step = np.linalg.solve(curvature + 1 / count, slope[..., None])[..., 0].clip(-MOST, MOST)
        strength = strength + step
        if np.abs(step).max() < SETTLED:
            break
    found: Floats = POINTS / np.log(10) * (strength - strength.mean(-1, keepdims=True)) + MEAN
    return found
