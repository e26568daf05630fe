from __future__ import annotations

import numpy as np
import pytest
import torch

from training.evaluation.benchmark.distances import frechet
from training.evaluation.benchmark.meters import Distances, Likenesses, Reading, Scores, centred, likeness
from training.evaluation.benchmark.take import Take, nearest

EMPTY = Take(np.zeros(0), np.zeros((0, 512, 512, 3), np.uint8), np.zeros((0, 68, 2)), torch.zeros(0))


def test_a_score_is_the_mean_of_the_clips_that_have_one() -> None:
    cell = Scores(lambda take: None).cell([1.0, None, 4.0], [], [])
    assert cell.estimate is not None
    assert (cell.estimate.value, cell.count) == (2.5, 2)
    assert cell.estimate.low == 1
    assert cell.estimate.high == 4
    nothing = Scores(lambda take: None).cell([None], [], [])
    assert (nothing.estimate, nothing.why) == (None, "not measured in any clip")


def test_a_distance_is_taken_between_all_clips_together() -> None:
    rng = np.random.default_rng(0)
    real: list[Reading] = [rng.normal(size=(9, 3)) for _ in range(4)]
    made: list[Reading] = [one + 1.0 for one in real if isinstance(one, np.ndarray)]
    meter = Distances(lambda take: None, frechet)
    cell = meter.cell(made, real, [])
    assert cell.estimate is not None
    assert cell.estimate.value == pytest.approx(3)  # of the means alone: one in each of three features
    assert 0 <= cell.estimate.low <= cell.estimate.value <= cell.estimate.high
    alone = meter.cell([*made[:1], None], real[:2], [])
    assert alone.estimate is None
    assert alone.why == "measured in 1 clips: a distribution takes 2"


def test_an_interval_lies_around_its_figure_though_resamples_are_higher() -> None:
    """Drawing clips twice makes a spread smaller: as a distance, all resamples would lie above the figure."""

    def distance(drawn: np.ndarray) -> float:
        return 10.0 - len(set(drawn.tolist()))

    found = centred(distance, 8)
    assert found.value == 2
    assert found.low < 2 < found.high < 5


def test_mouths_are_compared_at_the_same_time() -> None:
    features = np.eye(4)
    made = np.array([0.0, 0.04, 0.08]), features[[0, 1, 2]]
    assert likeness(made, (np.array([0.0, 0.04, 0.08]), features[:3])) == 1
    assert likeness(made, (np.array([0.01, 0.05, 0.09]), features[:3])) == 1
    assert likeness(made, (np.array([0.0, 0.04, 0.08]), features[[0, 1, 3]])) == pytest.approx(2 / 3)
    assert likeness(made, (np.array([0.0, 0.04]), 5 * features[:2])) == 1  # it ends earlier, and size does not count
    assert likeness(made, (np.zeros(0), np.zeros((0, 4)))) is None
    assert likeness((np.array([3.0]), features[:1]), (np.array([0.0, 0.04]), features[:2])) is None


def test_likeness_is_that_of_the_clip_that_spoke() -> None:
    meter = Likenesses(lambda take: None)
    times, rows = np.arange(3) / 25, np.eye(3)
    cell = meter.cell([(times, rows), (times, rows)], [None, None], [(times, rows), (times, -rows)])
    assert cell.estimate is not None
    assert (cell.estimate.value, cell.count) == (0, 2)
    assert meter.read(EMPTY) is None
    assert meter.cell([(times, rows)], [None], [None]).estimate is None  # silence: nobody spoke


def test_nearest_times() -> None:
    times = np.array([0.0, 0.04, 0.08])
    assert nearest(times, np.array([-1.0, 0.019, 0.021, 0.08, 9.0])).tolist() == [0, 0, 1, 2, 2]
    assert nearest(times[:1], np.array([0.5])).tolist() == [0]
