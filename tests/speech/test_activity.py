"""Pauses of speech, found in quiet and in noise, and features that are those of silence there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.assets import ASSETS
from keysync.media.audio import read_speech
from keysync.method import SAMPLE_RATE
from keysync.speech.activity import FADE, Pauses, pauses, quiet_share, quieted, silence_of

RATE = SAMPLE_RATE


@pytest.fixture(scope="module")
def speech() -> Tensor:
    """The demo's: two sentences, a second of silence between them."""
    return read_speech(ASSETS / "speech.flac")[0]


def in_noise(speech: Tensor, decibels: float, seed: int = 0) -> Tensor:
    """With white noise, so far below the speech's own level."""
    level = speech[speech.abs() > 1e-3].square().mean().sqrt()
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(seed))
    return speech + level * 10 ** (-decibels / 20) * noise


def longest(found: Pauses) -> tuple[float, float]:
    return max(found, key=lambda pause: pause[1] - pause[0])


@pytest.mark.parametrize("decibels", [np.inf, 40, 25, 15])
def test_a_pause_is_found_in_quiet_and_in_noise(decibels: float, speech: Tensor) -> None:
    start, stop = longest(pauses(in_noise(speech, decibels)))
    quiet_start, quiet_stop = longest(pauses(speech))
    assert 0.7 < stop - start <= 1.3
    assert (start, stop) == pytest.approx((quiet_start, quiet_stop), abs=0.2)
    assert speech[round(start * RATE) : round(stop * RATE)].abs().max() < 0.02


def test_the_level_of_a_recording_does_not_matter(speech: Tensor) -> None:
    noisy = in_noise(speech, 30)
    for gain in (0.05, 0.5):
        assert np.array(pauses(gain * noisy)) == pytest.approx(np.array(pauses(noisy)), abs=0.021)


def test_an_appended_silence_does_not_change_the_others(speech: Tensor) -> None:
    """A result that is much longer than its speech is filled up with zeros."""
    longer = torch.cat([speech, torch.zeros(60 * RATE)])
    found = pauses(longer)
    assert longest(pauses(speech)) in found
    assert found[-1][1] == pytest.approx(len(longer) / RATE)
    assert found[-1][0] == pytest.approx(pauses(speech)[-1][0])


def test_silence_is_one_pause_and_music_has_none() -> None:
    second = torch.arange(3 * RATE) / RATE
    hum = 0.3 * torch.sin(2 * torch.pi * 440 * second)
    assert pauses(torch.zeros(3 * RATE)) == [(0.0, 3.0)]
    assert pauses(1e-5 * torch.randn(3 * RATE, generator=torch.Generator().manual_seed(0))) == [(0.0, 3.0)]
    assert pauses(hum) == []
    assert pauses(0.1 * torch.randn(3 * RATE, generator=torch.Generator().manual_seed(0))) == []
    assert pauses(torch.zeros(0)) == []


def test_a_closure_inside_a_word_is_no_pause(speech: Tensor) -> None:
    spoken = [(stop, start) for (_, stop), (start, _) in pairwise(pauses(speech))]
    middle = sum(longest(spoken)) / 2
    closed = speech.clone()
    closed[round((middle - 0.06) * RATE) : round((middle + 0.06) * RATE)] = 0
    assert np.array(pauses(closed)) == pytest.approx(np.array(pauses(speech)), abs=0.021)


def test_the_share_fades_at_both_ends_of_a_pause_only_where_a_voice_is() -> None:
    times = np.array([0.9, 1.0, 1.0 + FADE / 2, 1.0 + FADE, 1.5, 2.0 - FADE / 2, 2.0, 2.1])
    assert quiet_share([(1.0, 2.0)], times).tolist() == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0, 0], abs=1e-5)
    assert quiet_share([(0.0, 1.0)], np.array([0.0, 0.5])).tolist() == [1, 1]
    assert quiet_share([], times).tolist() == [0] * 8


class Loudness:
    """An encoder whose rows (n, 2, 3) are the loudness at their time, from 7 upwards."""

    def encode(self, waveform: Tensor) -> Any:
        return Heard(waveform)


@dataclass
class Heard:
    waveform: Tensor

    def at(self, times: Any) -> Tensor:
        places = (torch.as_tensor(times) * RATE).long().clamp(max=len(self.waveform) - 1)
        return 7 + self.waveform[places].abs()[:, None, None].expand(-1, 2, 3)


def test_features_are_those_of_silence_in_pauses_and_unchanged_in_speech() -> None:
    encoder = Loudness()
    rows = encoder.encode(torch.ones(3 * RATE))
    assert silence_of(encoder).tolist() == [[7.0] * 3] * 2
    assert quieted(encoder, rows, [(1.0, 2.0)], 3.0).at(np.array([0.5, 1.5, 2.5]))[:, 0, 0].tolist() == [8, 7, 8]
    # No voice begins after a pause at the end.
    at_end = quieted(encoder, rows, [(2.0, 3.0)], 3.0).at(np.array([2.5, 2.98]))
    assert at_end[:, 0, 0].tolist() == [7, 7]
