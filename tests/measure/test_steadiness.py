from __future__ import annotations

import numpy as np
import pytest

from keysync.measure.steadiness import trembling


def test_even_motion_does_not_tremble_and_noise_does() -> None:
    even = np.linspace(0, 1, 50)
    assert trembling(even) == pytest.approx(0, abs=1e-12)
    assert trembling(np.tile([0.0, 0.1], 20)) == pytest.approx(0.2)


def test_frames_without_a_value_break_the_curve() -> None:
    curve = np.linspace(0, 1, 50)
    curve[20:] += 5
    curve[19:21] = np.nan
    assert trembling(curve) == pytest.approx(0, abs=1e-12)
    assert np.isnan(trembling(np.array([0.0, np.nan, 1.0, 2.0])))
