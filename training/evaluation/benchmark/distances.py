"""Distances between two sets of features, rows (n, d) and (m, d)."""

from __future__ import annotations

import numpy as np

from .take import Floats

# The bandwidth of CMMD's kernel, and the factor that makes its numbers readable (Jayasumana et al., 2024).
BANDWIDTH, SCALE = 10.0, 1000.0


def frechet(first: Floats, second: Floats) -> float:
    """The Fréchet distance of two normal distributions with the means and covariances of the rows: FID and FVD.

    The trace of the root of both covariances' product is the sum of the singular values of the product of their
    factors, which is exact and needs no root of a matrix. It takes two rows at least.
    """
    apart = first.mean(0) - second.mean(0)
    one, other = _factor(first), _factor(second)
    shared = float(np.linalg.svd(one @ other.T, compute_uv=False).sum())
    found = float(apart @ apart) + float((one**2).sum()) + float((other**2).sum()) - 2 * shared
    return max(0.0, found)


def _factor(rows: Floats) -> Floats:
    """A (k, d) with A^T A the covariance of rows (n, d), k at most d."""
    centred: Floats = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    return centred if len(rows) <= rows.shape[1] else np.linalg.qr(centred).R


def cmmd(first: Floats, second: Floats) -> float:
    """The squared maximum mean discrepancy with a Gaussian kernel, times 1000; 0 for equal rows.

    It is the estimate of least variance, as in CMMD: each row is also compared with itself.
    """
    inside = _kernel(first, first) + _kernel(second, second)
    return max(0.0, SCALE * (inside - 2 * _kernel(first, second)))


def _kernel(first: Floats, second: Floats) -> float:
    """The mean of the kernel over all pairs of rows."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return float(np.exp(-np.maximum(squares, 0) / (2 * BANDWIDTH**2)).mean())
