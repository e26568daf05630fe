"""The training of the ears of KeySync small, on a few seconds of speech."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from keysync.errors import KeySyncError
from keysync.speech.ears import CHANNELS, Ears
from keysync.speech.encoders import load_encoder
from training.small import ears
from training.small.ears import Heard, Settings, Target, batches_of, fit, scale_to, train, validate


@pytest.fixture
def talks() -> list[Heard]:
    """Talks whose rows of Whisper tell the mouth, and HuBERT's rows with it."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for frames in (60, 60, 60, 40, 40, 60):
        mouth = torch.rand(frames, 5, generator=generator)
        rows = torch.randn(frames, 2, 384, generator=generator) * 0.1
        rows[..., :5] += 12 * mouth[:, None]
        clean = 5 + 3 * (mouth @ torch.randn(5, 2 * CHANNELS, generator=torch.Generator().manual_seed(1)))
        found.append(Heard(rows.half(), clean.unflatten(1, (2, CHANNELS)).half(), mouth.half()))
    return found


def test_it_learns_hubert_s_rows(talks: list[Heard]) -> None:
    target = Target.of(talks, torch.randn(3, CHANNELS, generator=torch.Generator().manual_seed(2)))
    network = fit(talks, target, Settings(epochs=150))
    assert validate(network, target, talks).min() > 0.9
    scale_to(network, target)
    with torch.no_grad():
        read = network(talks[0].rows.float()[None])[0]
    clean = talks[0].clean.float().flatten(1)
    assert (read - clean).norm() < 0.4 * (clean - target.mean).norm()


def test_batches_hold_every_talk_once_and_one_length_each(talks: list[Heard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "BATCH", 130)
    batches = batches_of(talks)
    assert sorted(id(talk) for batch in batches for talk in batch) == sorted(map(id, talks))
    assert all(len({len(talk.rows) for talk in batch}) == 1 for batch in batches)
    assert [len(batch) for batch in batches] == [2, 2, 2]


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ears, "LENGTHS", (2, 1))
    options = ["--hours", "0.002", "--talks", "8", "--epochs", "1", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["ears", "-o", str(tmp_path), *options])
    assert ears.main() == 0
    encoder = load_encoder("hubert", tmp_path / "model.safetensors")
    assert isinstance(encoder, Ears)
    assert encoder.encode(torch.randn(16_000)).rows.isfinite().all()


def test_without_a_hubert(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="contains no weights"):
        train(Settings(), tmp_path, tmp_path)
