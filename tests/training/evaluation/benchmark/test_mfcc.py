from __future__ import annotations

import numpy as np

from training.evaluation.benchmark.mfcc import mfcc

# Rows 0, 12 and 23 of python_speech_features 0.6 for the sound below.
GOLDEN = (
    (
        20.0678,
        22.8434,
        8.1589,
        -5.8644,
        -17.9539,
        -24.5440,
        -22.0754,
        -13.2611,
        -0.7832,
        9.5853,
        14.8991,
        12.7984,
        5.4558,
    ),
    (
        21.2594,
        20.7963,
        -17.4508,
        -14.6640,
        12.6559,
        4.1932,
        -38.7961,
        -51.4353,
        -7.8663,
        36.5762,
        35.4529,
        9.4409,
        -0.6002,
    ),
    (
        21.9365,
        6.7334,
        -20.5321,
        24.5137,
        -12.5119,
        -60.2054,
        -9.8065,
        6.7048,
        -27.4515,
        9.8686,
        41.5219,
        3.5843,
        -0.8711,
    ),
)


def test_coefficients_are_those_of_the_package() -> None:
    t = np.arange(4000) / 16000
    sound = 0.4 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 1730 * t * t * 3)
    rows = mfcc(sound.astype(np.float32))
    assert rows.shape == (24, 13)
    np.testing.assert_allclose(rows[[0, 12, 23]], GOLDEN, atol=2e-3)  # 16 bits round the sound in float32 otherwise


def test_silence_and_short_sounds_have_rows() -> None:
    silent = mfcc(np.zeros(1600, np.float32))
    assert silent.shape == (9, 13)
    assert np.isfinite(silent).all()
    assert mfcc(np.zeros(10, np.float32)).shape == (1, 13)
