"""The lips read from speech: closed in silence, open in vowels, and the same whole or in parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from keysync.assets import ASSETS
from keysync.errors import KeySyncError
from keysync.media.audio import read_speech
from keysync.method import SAMPLE_RATE
from keysync.speech.context import CHANNELS, CONTEXT
from keysync.speech.encoders import load_encoder
from keysync.speech.lips import WEIGHTS, LipsReader, load_lips
from keysync.speech.lips_curve import LIPS
from keysync.speech.whisper import WEIGHTS as WHISPER_WEIGHTS


@pytest.fixture(scope="module")
def reader() -> LipsReader:
    return load_lips()


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    """Of the demo's speech."""
    speech, _ = read_speech(ASSETS / "speech.flac")
    return load_encoder(LipsReader.encoder, WHISPER_WEIGHTS).encode(speech).frames


def test_channels() -> None:
    assert LIPS == ("opening", "width", "roundness", "jaw", "teeth")
    assert LipsReader.encoder == "whisper"


def test_speech_opens_and_closes_the_mouth(reader: LipsReader, rows: torch.Tensor) -> None:
    curve = reader.read(rows)
    assert curve.shape == (len(rows), 5)
    assert curve.dtype == torch.float32
    assert not curve.requires_grad
    opening, width, _, jaw, teeth = curve.unbind(1)
    for positive in (opening, jaw, teeth):
        assert positive.min() >= 0
    assert opening.min() < 0.1
    assert 0.7 < opening.max() < 1.7
    assert width.min() < 0 < width.max()


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
def test_silence_closes_the_mouth(reader: LipsReader, noise: float) -> None:
    silence = noise * torch.randn(6 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    frames = load_encoder("whisper", WHISPER_WEIGHTS).encode(silence).frames
    assert reader.read(frames)[:, 0].max() <= 0.05


def test_parts_with_context_are_exact(reader: LipsReader, rows: torch.Tensor) -> None:
    whole = reader.read(rows)
    parts = []
    for start in range(0, len(rows), 30):
        first = max(start - CONTEXT, 0)
        parts.append(reader.read(rows[first : start + 30 + CONTEXT])[start - first :][:30])
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_frames(reader: LipsReader, rows: torch.Tensor, count: int) -> None:
    assert reader.read(rows[:count]).shape == (count, 5)


@pytest.mark.parametrize("shape", [(4, 2, 768), (4, CHANNELS), (8, 1, CHANNELS)])
def test_rows_of_another_encoder(reader: LipsReader, shape: tuple[int, ...]) -> None:
    with pytest.raises(KeySyncError, match=r"read from rows of shape \(frames, 2, 384\)"):
        reader.read(torch.zeros(shape))


def test_other_weights(tmp_path: Path) -> None:
    weights = load_file(WEIGHTS)
    save_file(weights, tmp_path / "lips.safetensors")
    load_lips(weights=tmp_path / "lips.safetensors")
    del weights["out.weight"]
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(KeySyncError, match="has no weights of a lips reader"):
        load_lips(weights=tmp_path / "less.safetensors")
