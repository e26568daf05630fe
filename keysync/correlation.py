"""How two curves go together: correlation and slope."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.floating[Any]]

# A product of spreads from which on curves count as changing.
CHANGING = 1e-12


def correlation(first: Curve, second: Curve) -> float:
    """The Pearson correlation of two curves (n,); 0 if one is constant."""
    x, y = _centred(first), _centred(second)
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > CHANGING else 0.0


def slope(read: Curve, truth: Curve) -> float:
    """The least-squares slope of the curve read over the truth, both (n,); 0 for a constant truth."""
    x, y = _centred(truth), _centred(read)
    size = float(x @ x)
    return float(x @ y) / size if size > CHANGING else 0.0


def _centred(curve: Curve) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.asarray(curve, dtype=np.float64)
    return values - values.mean() if len(values) else values
