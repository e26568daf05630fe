"""How steadily a curve moves from frame to frame."""

from __future__ import annotations

import numpy as np

from ..correlation import Curve


def trembling(curve: Curve) -> float:
    """The mean absolute second difference of a curve (n,), in its unit per frame squared.

    NaN stands for frames without a value; NaN where no three frames in a row have one.
    """
    bends = np.abs(np.diff(np.asarray(curve, dtype=np.float64), 2))
    known = bends[np.isfinite(bends)]
    return float(known.mean()) if len(known) else float("nan")
