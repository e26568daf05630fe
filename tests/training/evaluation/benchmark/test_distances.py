from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from training.evaluation.benchmark.distances import cmmd, frechet


def test_frechet_of_normal_distributions_on_a_line() -> None:
    """Means 2 and 7, variances 2 and 18: 25 + (sqrt 18 - sqrt 2)^2."""
    first, second = np.array([[1.0], [3.0]]), np.array([[4.0], [10.0]])
    assert frechet(first, second) == pytest.approx(25 + (math.sqrt(18) - math.sqrt(2)) ** 2)
    assert frechet(first, first) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rows", [5, 40])
def test_frechet_is_that_of_the_root_of_the_covariances(rows: int) -> None:
    """Both with fewer rows than features and with more."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(rows, 8)), rng.normal(1, 2, size=(rows + 3, 8))
    root = sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    apart = first.mean(0) - second.mean(0)
    wanted = apart @ apart + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * root)
    assert frechet(first, second) == pytest.approx(wanted, rel=1e-5)


def test_cmmd_of_two_points() -> None:
    """At a distance of 10, the bandwidth, the kernel is exp(-1/2): 1000 (1 + 1 - 2 exp(-1/2))."""
    first, second = np.array([[0.0, 0.0]]), np.array([[6.0, 8.0]])
    assert cmmd(first, second) == pytest.approx(1000 * (2 - 2 * math.exp(-0.5)))


def test_cmmd_compares_every_row_with_itself_too() -> None:
    first, second = np.array([[0.0], [10.0]]), np.array([[0.0]])
    near = math.exp(-0.5)
    assert cmmd(first, second) == pytest.approx(1000 * ((2 + 2 * near) / 4 + 1 - (1 + near)))
    assert cmmd(first, first) == 0


def test_distances_grow_with_what_differs() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, 6))
    for distance in (frechet, cmmd):
        near, far = (distance(rows, rows + shift) for shift in (0.1, 1.0))
        assert 0 < near < far
