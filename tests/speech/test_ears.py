"""The ears of KeySync small: much what its HuBERT hears, silence in noise, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.assets import ASSETS
from keysync.errors import KeySyncError
from keysync.media.audio import read_speech
from keysync.method import SAMPLE_RATE
from keysync.speech.context import CONTEXT, ContextNetwork
from keysync.speech.ears import CHANNELS, Ears, EarsNetwork
from keysync.speech.encoders import load_encoder
from keysync.speech.features import FRAME
from keysync.systems.keysync.small import SMALL
from keysync.weights.describe import describe
from training.small.ears import HUBERT

WEIGHTS = SMALL["hubert"] / "model.safetensors"


@pytest.fixture(scope="module")
def ears() -> Ears:
    ears = load_encoder("hubert", SMALL["hubert"])
    assert isinstance(ears, Ears)
    return ears


def test_the_demo_is_heard_much_as_by_hubert(ears: Ears) -> None:
    speech, _ = read_speech(ASSETS / "speech.flac")
    features = ears.encode(speech)
    expected = load_encoder("hubert", HUBERT).encode(speech).rows
    assert features.encoder == "hubert"
    assert ears.channels == CHANNELS
    assert features.rows.shape == expected.shape == (304, CHANNELS)
    assert features.rows.dtype == torch.float32
    apart = torch.stack((features.rows - features.rows.mean(0), expected - expected.mean(0))).flatten(1)
    assert torch.corrcoef(apart)[0, 1] > 0.8


def test_silence_is_heard_as_silence(ears: Ears) -> None:
    """Noise is nearer to what HuBERT hears in silence than speech is."""
    hubert = load_encoder("hubert", HUBERT)
    silent = hubert.encode(torch.zeros(4 * SAMPLE_RATE)).rows[20:-20].mean(0)
    noise = 1e-3 * torch.randn(4 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    speech, _ = read_speech(ASSETS / "speech.flac")
    far = (hubert.encode(speech).rows - silent).norm(dim=1).mean()
    assert (ears.encode(noise).rows[20:-20] - silent).norm(dim=1).mean() < 0.3 * far


@pytest.mark.parametrize("seconds", [0.001, 31])
def test_speech_of_any_length(ears: Ears, seconds: float) -> None:
    waveform = torch.randn(round(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    rows = ears.encode(waveform).rows
    assert len(rows) == 2 * -(-len(waveform) // FRAME)
    assert rows.isfinite().all()


def test_half_precision(ears: Ears) -> None:
    half = load_encoder("hubert", SMALL["hubert"], dtype=torch.bfloat16)
    waveform = torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    rows, expected = half.encode(waveform).rows, ears.encode(waveform).rows
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert (rows - expected).norm() < 0.1 * expected.norm()


def test_a_file_is_named() -> None:
    described = describe(WEIGHTS)
    assert (described.kind, described.problem) == ("hubert", None)
    assert "KeySync small's ears" in described.sign
    assert WEIGHTS.stat().st_size < 1e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("ears.out.weight"), "does not hold the ears of KeySync small"),
        (lambda tensors: tensors.update({"ears.mean": torch.zeros(7)}), "does not hold the ears of KeySync small"),
        (lambda tensors: tensors.update({"ears.mean": torch.full((384,), torch.nan)}), "not finite"),
    ],
)
def test_damaged_files(tmp_path: Path, change: Callable[[dict[str, Tensor]], None], message: str) -> None:
    tensors = load_file(WEIGHTS)
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(KeySyncError, match=message):
        load_encoder("hubert", tmp_path)


@pytest.mark.parametrize("network", [EarsNetwork(), ContextNetwork(3, 4), ContextNetwork(3, 4, near=0)])
def test_a_frame_depends_on_its_context_alone(network: ContextNetwork) -> None:
    rows = torch.randn(1, 40, 2, 384, generator=torch.Generator().manual_seed(0))
    moved = rows.clone()
    moved[0, 20] += 1
    with torch.no_grad():
        changed = (network(rows) != network(moved)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == list(range(20 - CONTEXT, 21 + CONTEXT))
