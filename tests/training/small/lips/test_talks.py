"""Talks with their true lips."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.speech.lips_curve import LIPS
from training.small.lips.talks import HEIGHT, WIDTH, lips_of, silence
from training.synthetic.render.mouth_motion import MouthMotion

REST, VOWEL, SPREAD, PURSED, HISS = (
    (0.0, 0.0, 0.0, 0.3, 0.0),
    (1.0, 0.1, 0.0, 0.2, 0.0),
    (0.5, 1.0, 0.0, 0.6, 0.0),
    (0.5, 0.0, 1.0, 0.1, 0.0),
    (0.15, 0.3, 0.0, 0.9, 0.0),
)


def lips(*shape: float) -> dict[str, float]:
    """Of a mouth that stays as it is."""
    curve = lips_of(MouthMotion.of(np.tile(shape, (9, 1))))
    assert curve.shape == (9, 5)
    assert curve.dtype == np.float32
    return dict(zip(LIPS, curve[4].tolist(), strict=True))


def test_at_rest_everything_is_zero() -> None:
    assert lips(*REST) == pytest.approx(dict.fromkeys(LIPS, 0.0), abs=1e-6)


def test_shapes() -> None:
    vowel, spread, pursed, hiss = lips(*VOWEL), lips(*SPREAD), lips(*PURSED), lips(*HISS)
    assert vowel["opening"] > spread["opening"] > pursed["opening"] > 0
    assert (spread["width"], pursed["width"]) == (1, -1)
    assert vowel["jaw"] == pytest.approx(vowel["opening"])
    assert hiss["teeth"] > spread["teeth"] > vowel["teeth"] > 0
    assert vowel["roundness"] == pytest.approx((HEIGHT + 0.2 * vowel["opening"]) / (WIDTH + 0.006) - HEIGHT / WIDTH)


def test_a_short_closure_closes_the_lips_but_not_the_jaw() -> None:
    table = np.tile(VOWEL, (21, 1))
    table[10] = REST
    curve = lips_of(MouthMotion.of(table))
    assert curve[10, 0] == 0
    assert curve[10, 3] > 0.3


def test_silence_is_of_all_levels() -> None:
    levels = [float(silence(np.random.default_rng(seed)).std()) for seed in range(30)]
    assert min(levels) == 0
    assert max(levels) > 0.005
