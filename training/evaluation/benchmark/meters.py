"""How a column is measured: what is read of one video, and the estimate over all videos with its interval.

Intervals are from a bootstrap over the clips, each with all that was read of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...synthetic.measure.metrics import Estimate, mean_of
from .take import Floats, Take, nearest

# Resamples of a distance between distributions, which is slow.
RESAMPLES = 100
# Clips without which there is no distribution.
FEWEST = 2

# A figure, features (m, d), or features (k, d) beside the times (k,) of their frames; None where nothing was measured.
Reading = float | Floats | tuple[Floats, Floats] | None


@dataclass(frozen=True)
class Cell:
    """A figure with its interval over `count` clips; None where there is none, for the reason `why`."""

    estimate: Estimate | None
    count: int = 0
    why: str = ""


class Meter(Protocol):
    """Measures one column."""

    def read(self, take: Take) -> Reading:
        """What is kept of one video."""

    def cell(self, made: Sequence[Reading], real: Sequence[Reading], voices: Sequence[Reading]) -> Cell:
        """The figure of a system's videos: `real` are the readings of the clips that were dubbed, `voices` those of the
        clips that spoke, each in the order of `made`."""


@dataclass(frozen=True)
class Scores:
    """A figure of each video; the column is their mean."""

    score: Callable[[Take], float | None]

    def read(self, take: Take) -> Reading:
        return self.score(take)

    def cell(self, made: Sequence[Reading], real: Sequence[Reading], voices: Sequence[Reading]) -> Cell:
        return _mean([value for value in made if isinstance(value, float | int)])


@dataclass(frozen=True)
class Distances:
    """A distance between the features (m, d) of a system's videos and those of the clips that were dubbed."""

    features: Callable[[Take], Floats | None]
    between: Callable[[Floats, Floats], float]

    def read(self, take: Take) -> Reading:
        return self.features(take)

    def cell(self, made: Sequence[Reading], real: Sequence[Reading], voices: Sequence[Reading]) -> Cell:
        both = [
            (one, other)
            for one, other in zip(made, real, strict=True)
            if isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
        ]
        if len(both) < FEWEST:
            return Cell(None, len(both), f"measured in {len(both)} clips: a distribution takes {FEWEST}")

        def distance(drawn: NDArray[np.int64]) -> float:
            mine, theirs = (np.concatenate([both[at][side] for at in drawn.tolist()]) for side in (0, 1))
            return self.between(theirs, mine)

        return Cell(centred(distance, len(both)), len(both))


@dataclass(frozen=True)
class Likenesses:
    """The mean cosine of the features (k, d) of a video's frames and of those of the clip that spoke, time by time."""

    features: Callable[[Take], Floats | None]

    def read(self, take: Take) -> Reading:
        found = self.features(take)
        return None if found is None else (take.times, found)

    def cell(self, made: Sequence[Reading], real: Sequence[Reading], voices: Sequence[Reading]) -> Cell:
        known = [
            likeness(one, other)
            for one, other in zip(made, voices, strict=True)
            if isinstance(one, tuple) and isinstance(other, tuple)
        ]
        return _mean([value for value in known if value is not None])


def likeness(made: tuple[Floats, Floats], spoken: tuple[Floats, Floats]) -> float | None:
    """The mean cosine, -1..1, of features (k, d) at times (k,) with those of another video that are nearest in time.

    Frames after the end of the other do not count; None where none remain.
    """
    (times, features), (other_times, others) = made, spoken
    if not len(times) or not len(other_times):
        return None
    known = times <= other_times[-1]
    mine, theirs = features[known], others[nearest(other_times, times[known])]
    sizes = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(np.mean((mine * theirs).sum(1) / np.maximum(sizes, 1e-8))) if len(mine) else None


def centred(statistic: Callable[[NDArray[np.int64]], float], clips: int, seed: int = 0) -> Estimate:
    """A distance of clips, given by their numbers (m,), and its 95 % interval.

    Clips that are drawn twice narrow a distribution, which raises a distance: the resamples are shifted so that their
    mean is the figure. An interval does not go below 0.
    """
    value = statistic(np.arange(clips))
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, clips, clips)) for _ in range(RESAMPLES)])
    low, high = np.percentile(drawn - drawn.mean() + value, (2.5, 97.5)).tolist()
    return Estimate(value, max(0.0, min(low, value)), max(high, value))


def _mean(values: Sequence[float]) -> Cell:
    return Cell(mean_of(values), len(values)) if values else Cell(None, 0, "not measured in any clip")
