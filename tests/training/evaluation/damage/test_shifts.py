from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keysync.demo import SPEECH
from keysync.measure.figures import Measured
from keysync.media.audio import read_speech
from keysync.method import SAMPLE_RATE
from tests.measure.curves import FRAMES, LATE, measured_talk
from training.evaluation.damage.shifts import SHIFTS, row, with_sound_shifted


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measured_talk()


@pytest.mark.parametrize("shift", [-6, 0, 6])
def test_a_later_sound_makes_the_mouth_early(measured: Measured, shift: int) -> None:
    waveform = np.pad(read_speech(SPEECH)[0].numpy()[: 3 * SAMPLE_RATE], (0, SAMPLE_RATE))
    moved = with_sound_shifted(measured, waveform, shift / 25)
    assert moved.lag is not None
    assert abs(moved.lag.frames - (LATE - shift)) <= 1
    assert moved.sound.seconds == pytest.approx(FRAMES / 25)


def test_the_imposed_lag_is_found_in_real_clips(media: Path) -> None:
    """Two clips in perfect sync; `docs/measure.md` has all."""
    for name in ("bbaf2n", "swiz3n"):
        line, found = row(media / "grid" / f"{name}.mpg")
        assert line.startswith(f"| {name}.mpg | 0 | ")
        assert found >= 0.9 * len(SHIFTS)
