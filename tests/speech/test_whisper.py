"""Whisper's encoder: the same numbers as transformers' own, whole or in windows, from every kind of file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from keysync.assets import ASSETS
from keysync.errors import KeySyncError, install_line
from keysync.media.audio import read_speech
from keysync.method import SAMPLE_RATE
from keysync.speech import whisper
from keysync.speech.encoder import WINDOW
from keysync.speech.encoders import load_encoder
from keysync.speech.features import FRAME, ROW
from keysync.speech.whisper import WEIGHTS, Whisper, log_mel
from keysync.weights.describe import describe
from keysync.weights.eight_bits import to_eight_bits

CHANNELS = 64


def sound(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A whole Whisper of transformers, tiny and with random weights."""
    import transformers

    config = transformers.WhisperConfig(
        vocab_size=8, d_model=CHANNELS, encoder_layers=2, encoder_attention_heads=1, encoder_ffn_dim=96,
        decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=32,
        pad_token_id=1, bos_token_id=1, eos_token_id=1, decoder_start_token_id=1, suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.WhisperForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def folder(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Whisper:
    encoder = load_encoder("whisper", folder)
    assert isinstance(encoder, Whisper)
    return encoder


# --- numbers


@pytest.mark.parametrize("mels", [80, 128])
def test_the_spectrogram_is_transformers_own(mels: int) -> None:
    import transformers

    waveform = sound(2 * SAMPLE_RATE)
    extractor = transformers.WhisperFeatureExtractor(feature_size=mels)
    expected = extractor(waveform.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features[0]
    ours = log_mel(F.pad(waveform, (0, WINDOW - len(waveform))), mels)
    assert ours.shape == (mels, 3000)
    assert torch.allclose(ours, expected, atol=2e-5)


def test_rows_are_transformers_own(theirs: Any, encoder: Whisper) -> None:
    waveform = sound(5 * FRAME + 1)
    mel = log_mel(F.pad(waveform, (0, WINDOW - len(waveform))), 80)
    with torch.no_grad():
        expected = theirs.model.encoder(mel[None]).last_hidden_state[0]
    features = encoder.encode(waveform)
    assert features.rows.shape == (12, encoder.channels) == (12, CHANNELS)
    assert features.rows.dtype == torch.float32
    assert features.encoder == "whisper"
    assert torch.allclose(features.rows, expected[:12], atol=1e-5)


# Rows of the demo's speech, channels 0, 50, 150 and 383, by transformers' WhisperModel with all weights of tiny.en, in
# float16: its hidden states after two layers, through its last layer norm.
STORED = {
    0: (-1.3942, -1.6725, 0.7831, -0.2029),
    100: (-3.0437, -0.6771, -0.7247, -0.9325),
    257: (-1.8712, 0.5187, 3.0471, 0.1623),
}


def test_the_built_in_encoder_hears_what_the_whole_model_hears_after_two_layers() -> None:
    waveform, _ = read_speech(ASSETS / "speech.flac")
    rows = load_encoder("whisper", WEIGHTS).encode(waveform).rows
    assert rows.shape == (304, 384)
    expected = torch.tensor(list(STORED.values()))
    # 8 bits change the rows by 1.5 %.
    assert (rows[list(STORED)][:, [0, 50, 150, 383]] - expected).norm() < 0.02 * expected.norm()


def test_it_ships_with_its_licence() -> None:
    assert "OpenAI" in (WEIGHTS.parent / "LICENSE").read_text(encoding="utf-8")
    described = describe(WEIGHTS)
    assert described.kind == "whisper"
    assert described.metadata["license"] == "MIT"
    assert WEIGHTS.stat().st_size < 4.2e6


def test_positions_are_computed_where_a_file_has_none(folder: Path, encoder: Whisper, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    positions = tensors.pop("model.encoder.embed_positions.weight")
    save_file(tensors, tmp_path / "whisper.safetensors")
    computed = load_encoder("whisper", tmp_path / "whisper.safetensors")
    assert torch.allclose(computed.model.embed_positions.weight, positions, atol=5e-4)
    waveform = sound(FRAME)
    assert torch.allclose(computed.encode(waveform).rows, encoder.encode(waveform).rows, atol=1e-3)


def test_weights_in_eight_bits(folder: Path, encoder: Whisper, tmp_path: Path) -> None:
    save_file(to_eight_bits(load_file(folder / "model.safetensors")), tmp_path / "whisper.safetensors")
    waveform = sound(FRAME)
    rows = load_encoder("whisper", tmp_path / "whisper.safetensors").encode(waveform).rows
    expected = encoder.encode(waveform).rows
    assert 0 < (rows - expected).norm() < 0.02 * expected.norm()


# --- framing


class Ears:
    """In the network's place: row r is the mean of the spectrogram's columns 2 r and 2 r + 1."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(num_mel_bins=80)

    def __call__(self, mel: Tensor) -> SimpleNamespace:
        assert mel.shape == (1, 80, 3000)
        return SimpleNamespace(last_hidden_state=mel.unflatten(-1, (-1, 2)).mean(-1).transpose(1, 2))


@pytest.mark.parametrize("seconds", [0.001, 0.04, 29.97, 30, 30.04, 50, 71.3])
def test_every_row_is_at_its_place(seconds: float) -> None:
    waveform = sound(round(seconds * SAMPLE_RATE))
    rows = Whisper(Ears()).encode(waveform).rows
    padded = F.pad(waveform, (0, -len(waveform) % FRAME))
    whole = log_mel(F.pad(padded, (0, WINDOW)), 80)[:, : 2 * len(padded) // ROW]
    expected = whole.unflatten(-1, (-1, 2)).mean(-1).T
    assert rows.shape == expected.shape
    inside = slice(None) if len(padded) < WINDOW else slice(-1)  # a window's last column mirrors the sound at its end
    assert (rows - expected)[inside].abs().max() < 1e-4


def test_half_precision(folder: Path, encoder: Whisper) -> None:
    waveform = sound(5 * FRAME)
    half = load_encoder("whisper", folder, dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    rows, expected = half.encode(waveform).rows, encoder.encode(waveform).rows
    assert rows.dtype == torch.float32
    assert (rows - expected).norm() < 0.05 * expected.norm()


# --- files

LAYOUTS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "whole model": lambda tensors: tensors,
    "without the head": lambda tensors: {name.removeprefix("model."): tensor for name, tensor in tensors.items()},
    "ComfyUI's, the encoder alone": lambda tensors: {
        name: tensor for name, tensor in tensors.items() if name.startswith("model.encoder.")
    },
    "bare encoder": lambda tensors: {
        name.removeprefix("model.encoder."): tensor
        for name, tensor in tensors.items()
        if name.startswith("model.encoder.")
    },
}


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_file(folder: Path, encoder: Whisper, tmp_path: Path, layout: str, suffix: str) -> None:
    tensors = LAYOUTS[layout](load_file(folder / "model.safetensors"))
    file = tmp_path / f"whisper{suffix}"
    if suffix == ".bin":
        torch.save(tensors, file)
    else:
        save_file(tensors, file)
    waveform = sound(FRAME)
    assert torch.equal(load_encoder("whisper", file).encode(waveform).rows, encoder.encode(waveform).rows)
    assert describe(file).kind == "whisper"


def test_another_kind_of_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(KeySyncError, match="expected a Whisper speech encoder") as caught:
        load_encoder("whisper", tmp_path / "other.safetensors")
    assert caught.value.about == "whisper"


def changed(name: str, value: Tensor | None) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors.pop(f"model.encoder.{name}", None)
        if value is not None:
            tensors[f"model.encoder.{name}"] = value

    return change


def without_positions(tensors: dict[str, Tensor]) -> None:
    for change in (changed("embed_positions.weight", None), changed("conv1.weight", torch.tensor(0.0))):
        change(tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("layers.1.fc2.bias", None), r"layers.1.fc2.bias has shape none: expected \(64,\)"),
        (changed("layers.1.fc2.bias", torch.zeros(2)), r"layers.1.fc2.bias has shape \(2,\): expected \(64,\)"),
        (changed("adapter.weight", torch.zeros(2)), r"adapter.weight has shape \(2,\): expected none"),
        (changed("layer_norm.bias", torch.full((64,), torch.nan)), "not finite"),
        (changed("embed_positions.weight", torch.zeros(20, 64)), "2 layers of 64 channels, 80 mel bands and 20 pos"),
        (changed("embed_positions.weight", torch.zeros(1500)), "expected Whisper"),
        (changed("conv1.weight", torch.zeros(64, 7, 3)), "7 mel bands and 1500 positions: expected Whisper"),
        (changed("layers.0.fc1.weight", None), "expected Whisper"),
        (changed("layers.900.fc1.weight", torch.zeros(1)), "901 layers"),
        (changed("conv1.weight", torch.tensor(0.0)), "64 channels, 0 mel bands"),
        (without_positions, "0 channels, 0 mel bands and 1500 positions: expected Whisper"),
        (changed("conv1.weight.scale", torch.ones(64, 1)), r"conv1.weight.scale has shape \(64, 1\): expected none"),
    ],
)
def test_damaged_files(folder: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], message: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "whisper.safetensors")
    with pytest.raises(KeySyncError, match=message):
        load_encoder("whisper", tmp_path / "whisper.safetensors")


def test_without_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("transformers"))):
        load_encoder("whisper", folder)


def test_filters_are_computed_once() -> None:
    assert whisper.mel_filters(80) is whisper.mel_filters(80)
