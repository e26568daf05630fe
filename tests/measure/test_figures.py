from __future__ import annotations

import numpy as np
import pytest

from keysync.measure.change import Change
from keysync.measure.figures import Measured, frame_rate
from keysync.measure.mouths import Mouths

from .curves import FRAMES, LATE, measured_talk, mouths, sound


def test_the_mouth_is_compared_with_what_the_sound_asks_for() -> None:
    figures = measured_talk().figures
    assert (figures.frames, figures.frames_seen, figures.rate) == (FRAMES, FRAMES - 1, 25.0)
    assert (figures.lag_frames, figures.lag_seconds) == (LATE, LATE / 25)
    assert figures.correlation == pytest.approx(1.0, abs=1e-6)
    assert figures.correlation_without_lag is not None
    assert figures.correlation_without_lag < 0.9
    assert figures.loudness_correlation is not None
    assert 0 < figures.loudness_correlation < 0.9
    assert figures.correlation_over_loudness == pytest.approx(1 - figures.loudness_correlation)
    assert figures.lag_confidence == pytest.approx(1.0, abs=0.05)


def test_lipleak_counts_the_silence_alone() -> None:
    measured = measured_talk()
    figures = measured.figures
    silent = measured.sound.silent_at(measured.times)
    assert 15 < figures.silent_frames == silent.sum() < 35
    assert figures.lipleak == pytest.approx(3 / figures.silent_frames)
    assert figures.silent_aspect_ratio == pytest.approx(float(measured.mouths.ratio[silent].mean()))
    assert not figures.silent_throughout
    assert figures.lipleak is not None
    assert measured.lipleak_curve[0] >= figures.lipleak >= 0


def test_a_source_gives_ratios_and_what_changed() -> None:
    half = mouths()
    source = Mouths(half.shape, half.ratio, np.full(FRAMES, 100.0))
    figures = measured_talk(Change(1.1, 2.5, 0.9, 40, 3.5), source).figures
    assert figures.sharpness_over_source == pytest.approx(0.5)
    assert figures.jitter_over_source == pytest.approx(1.0)
    assert figures.source_correlation == pytest.approx(1.0)
    assert (figures.seam, figures.colour_shift, figures.identity) == (1.1, 2.5, 0.9)
    assert figures.unchanged_outside is False
    alone = measured_talk().figures
    assert alone.seam is None
    assert alone.unchanged_outside is None


def test_a_mouth_that_no_frame_shows_has_no_figures() -> None:
    none = Mouths(np.full((FRAMES, 4), np.nan), np.full(FRAMES, np.nan), np.full(FRAMES, np.nan))
    figures = Measured.of("talk", np.arange(FRAMES) / 25, none, sound()).figures
    found = figures.to_dict()
    assert {name for name, value in found.items() if value is not None} == {
        *("frames", "frames_seen", "rate", "silent_frames", "silent_throughout")
    }


def test_the_rate_is_that_of_the_timestamps() -> None:
    assert frame_rate(np.arange(11) / 29.97) == pytest.approx(29.97)
    assert frame_rate(np.zeros(1)) == 25.0
