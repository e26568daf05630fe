from __future__ import annotations

import numpy as np
import pytest

from keysync.speech.lips_curve import LIPS
from keysync.systems.rewrite.curve import WIDE_OPEN, WIDER, Amplitude, as_lips

CLIP = Amplitude(opening=(0.02, 0.3), width=(0.4, 0.6), rest=0.5)


def test_a_wide_vowel_is_that_of_ordinary_speech_within_what_the_clip_offers() -> None:
    opening, width = np.array([0, 0.5, 3, -1], np.float32), np.array([0, 1, -3, 0], np.float32)
    wanted = CLIP.wanted(opening, width, 1.0)
    np.testing.assert_allclose(wanted[:, 0], [0.02, 0.02 + 0.5 * WIDE_OPEN, 0.3, 0.02], atol=1e-6)
    np.testing.assert_allclose(wanted[:, 1], [0.5, 0.5 + WIDER, 0.4, 0.5], atol=1e-6)


def test_a_clip_that_offers_less_moves_less_without_standing_still() -> None:
    small = Amplitude(opening=(0.02, 0.1), width=(0.4, 0.6), rest=0.5)
    wanted = small.wanted(np.array([0, 0.5, 1, 2], np.float32), np.zeros(4, np.float32), 1.0)
    np.testing.assert_allclose(wanted[:, 0], [0.02, 0.06, 0.1, 0.1], atol=1e-6)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_strength_scales_the_movement(strength: float) -> None:
    wanted = CLIP.wanted(np.array([0.4], np.float32), np.array([0.5], np.float32), strength)
    np.testing.assert_allclose(wanted, [[0.02 + 0.4 * strength * WIDE_OPEN, 0.5 + 0.5 * strength * WIDER]], atol=1e-6)


def test_a_clip_offers_what_it_shows_but_for_outliers() -> None:
    measures = np.zeros((200, 4), np.float32)
    measures[:, 0], measures[:, 1] = np.linspace(0, 0.2, 200), 0.5
    measures[0, 0], measures[-1, 0] = -5, 5
    offered = Amplitude.of(measures)
    assert -0.01 < offered.opening[0] < 0.01
    assert 0.19 < offered.opening[1] < 0.2
    assert offered.rest == 0.5


def test_lips_read_from_mouths_ask_for_these_mouths() -> None:
    times = np.linspace(0, 20, 400)
    up, across = np.sin(times), np.cos(times)
    columns = 0.12 + 0.1 * up, 0.5 + 0.03 * across, 0.6 + 0.1 * up, 1.3 + 0.05 * up
    measures = np.stack(columns, 1).astype(np.float32)
    lips = as_lips(measures)
    assert lips.dtype == np.float32
    wanted = Amplitude.of(measures).wanted(lips[:, 0], lips[:, 1], 1.0)
    inside = np.abs(across) < 0.95  # what is outermost is left out of what a clip offers
    np.testing.assert_allclose(wanted[inside, 1], measures[inside, 1], atol=1e-3)
    reached = np.abs(up) < 0.95
    np.testing.assert_allclose(wanted[reached, 0], measures[reached, 0], atol=2e-3)
    assert not lips[:, LIPS.index("teeth")].any()
    assert lips[:, LIPS.index("jaw")].min() == 0
