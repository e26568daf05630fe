"""The training of the lips reader, on a few seconds of speech."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from keysync.speech.context import CHANNELS
from keysync.speech.lips import LipsNetwork, load_lips
from keysync.speech.lips_curve import POSITIVE
from training.small.lips import talks as talks_module
from training.small.lips import training
from training.small.lips.talks import Talks
from training.small.lips.training import Settings, fit, scale_to, validate


@pytest.fixture
def talks() -> Talks:
    """Talks whose rows tell the lips."""
    generator = torch.Generator().manual_seed(0)
    curves = torch.rand(6, 60, 5, generator=generator)
    rows = torch.randn(6, 60, 2, CHANNELS, generator=generator) * 0.1
    curves[0] = 0  # a silent talk
    rows[..., :5] += 12 * curves[:, :, None]
    return Talks(rows.half(), curves)


def test_it_learns(talks: Talks) -> None:
    network = fit(talks, Settings(epochs=200))
    assert validate(network, talks).min() > 0.9


def test_silence_is_below_0_and_most_speech_below_1(talks: Talks) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LipsNetwork()
    scale_to(network, talks)
    read = torch.cat([network(rows[None].float())[0] for rows in talks.rows])
    speech = read[talks.curves.flatten(0, 1)[:, 0] > 0.05]
    assert (speech.abs() < 1).float().mean(0).tolist() == pytest.approx([0.95] * 5, abs=0.01)
    assert (read[:60, POSITIVE] <= 0).float().mean(0).min() > 0.95


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks_module, "SECONDS", 2)
    monkeypatch.setattr(
        sys,
        "argv",
        ["training", "-o", str(tmp_path), "--hours", "0.002", "--talks", "6", "--epochs", "1", "--workers", "1"],
    )
    assert training.main() == 0
    curve = load_lips(weights=tmp_path / "lips.safetensors").read(torch.randn(10, 2, CHANNELS))
    assert curve.isfinite().all()
