from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.media import resample as module
from keysync.media.resample import Resampler, resample

RATES = [8000, 11025, 12345, 22050, 24000, 32000, 44100, 48000, 96000]


def directly(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """The filter's formula, every output a sum over every input."""
    common = math.gcd(source_rate, target_rate)
    o, n = source_rate // common, target_rate // common
    base = 0.99 * min(o, n)
    k = torch.arange(math.ceil(n * waveform.shape[1] / o), dtype=torch.float64)
    i = torch.arange(waveform.shape[1], dtype=torch.float64)
    t = ((i[None] / o - k[:, None] / n) * base).clamp(-6, 6)
    return waveform.double() @ (base / o * torch.sinc(t) * torch.cos(math.pi * t / 12) ** 2).T


def noise(samples: int, channels: int = 2) -> Tensor:
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [1, 700])
def test_formula(rate: int, samples: int) -> None:
    given = noise(samples)
    assert torch.allclose(resample(given, rate, 16000).double(), directly(given, rate, 16000), atol=1e-5)


def test_rates_without_a_common_divisor() -> None:
    given = noise(300)
    assert torch.allclose(resample(given, 44101, 16000).double(), directly(given, 44101, 16000), atol=1e-5)


@pytest.mark.parametrize("rate", [11025, 44100, 48000])
def test_blocks_join_without_a_seam(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = noise(5000)
    whole = resample(given, rate, 16000)
    monkeypatch.setattr(module, "BLOCK", 97)
    assert torch.equal(resample(given, rate, 16000), whole)


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 48000])
def test_a_waveform_may_arrive_in_blocks(rate: int) -> None:
    given = noise(5000)
    resampler = Resampler(rate, 16000)
    made = [resampler.add(block) for block in given.split([0, 1, 3, 996, 2500, 1500], 1)]
    assert torch.equal(torch.cat([*made, resampler.finish()], 1), resample(given, rate, 16000))
    assert sum(block.shape[1] for block in made) > 4800 * 16000 // rate  # not all at the end


def test_no_block_has_arrived() -> None:
    with pytest.raises(ValueError, match="no sound has arrived: add a block first, which may be empty"):
        Resampler(44100, 16000).finish()


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_pitch_and_loudness(rate: int) -> None:
    seconds = torch.arange(rate // 10) / rate
    tone = torch.sin(2 * math.pi * 440 * seconds)[None]
    ours = resample(tone, rate, 16000)[0]
    assert len(ours) == math.ceil(tone.shape[1] * 16000 / rate)
    expected = torch.sin(2 * math.pi * 440 * torch.arange(len(ours)) / 16000)
    assert (ours - expected)[100:-100].abs().max() < 5e-3


def test_equal_rates_change_nothing() -> None:
    given = noise(10)
    assert torch.equal(resample(given, 16000, 16000), given)


def test_rate_of_nothing() -> None:
    with pytest.raises(KeySyncError, match="cannot resample from 0 to 16000 Hz: both rates must be at least 1"):
        resample(noise(10), 0, 16000)
