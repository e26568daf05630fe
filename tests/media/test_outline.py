"""The outline of a sound: the extremes of each part, whatever the blocks and the rate."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.media.outline import outline
from keysync.media.source import SoundInMemory

RATE = 8000


def sound(seconds: float, rate: int = RATE) -> SoundInMemory:
    """Noise in two channels."""
    samples = np.random.default_rng(0).uniform(-1, 1, (2, round(seconds * rate))).astype(np.float32)
    return SoundInMemory("noise", samples, rate)


@pytest.mark.parametrize("parts", [1, 7, 50, 920])
def test_the_extremes_of_each_part(parts: int) -> None:
    given = sound(2.0)
    mono = np.concatenate([block.mean(0) for block in given.blocks()])
    places = (np.arange(len(mono)) / (len(mono) / parts)).astype(int)
    expected = [(mono[places == part].max(), mono[places == part].min()) for part in range(parts)]
    np.testing.assert_array_equal(outline(given, 2.0, parts).reshape(-1, 2), np.array(expected))


def test_a_shorter_sound_ends_in_silence_and_a_longer_one_is_cut() -> None:
    short, whole, long = (outline(sound(seconds), 2.0, 40).reshape(-1, 2) for seconds in (1.0, 2.0, 3.0))
    assert (short[20:] == 0).all()
    assert (short[:20] != 0).all()
    assert (whole != 0).all()
    assert (long != 0).all()


def test_more_parts_than_samples() -> None:
    found = outline(sound(0.01, 1000), 0.01, 100).reshape(-1, 2)
    assert (found != 0).any(1).sum() == 10
