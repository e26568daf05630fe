"""Speech encoders with tiny random weights, and with a stand-in whose every row tells which samples it heard."""

from __future__ import annotations

import json
import logging
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

from keysync.errors import KeySyncError, install_line
from keysync.method import SAMPLE_RATE
from keysync.speech.encoder import ONE_PASS, SpeechEncoder
from keysync.speech.encoders import ENCODERS, load_encoder, window_difference
from keysync.speech.features import FRAME, SpeechFeatures

NAMES = ("hubert", "wavlm")  # those that load_model reads


def sound(samples: int) -> Tensor:
    return 0.3 + 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder as transformers writes it, for each encoder: one head of 64 channels."""
    import transformers

    folders = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, kind in (("hubert", "Hubert"), ("wavlm", "WavLM")):
            config = getattr(transformers, f"{kind}Config")(
                hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=96, conv_dim=(8,) * 7
            )
            folders[name] = tmp_path_factory.mktemp(name)
            getattr(transformers, f"{kind}Model")(config).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> dict[str, SpeechEncoder]:
    return {name: load_encoder(name, folder) for name, folder in folders.items()}


class Ears:
    """In a speech model's place: row r is the mean of the 400 samples from 320 r on; remembers the longest signal, and
    where in memory all of them lie."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        self.longest = 0
        self.pieces: list[int] = []

    def __call__(self, waveform: Tensor) -> SimpleNamespace:
        self.longest = max(self.longest, waveform.shape[1])
        self.pieces.append(waveform.untyped_storage().data_ptr())
        return SimpleNamespace(last_hidden_state=waveform.unfold(1, 400, 320).mean(-1, keepdim=True))


# --- framing


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 640, 641, 1280, 6400, 7000])
def test_two_rows_a_frame(encoders: dict[str, SpeechEncoder], name: str, samples: int) -> None:
    features = encoders[name].encode(sound(samples))
    frames = -(-samples // FRAME)
    if name == "wavlm":
        frames += frames % 2
    assert features.frames.shape == (frames, 2, encoders[name].channels)
    assert features.rows.dtype == torch.float32
    assert features.encoder == name
    assert torch.equal(features.frames.flatten(0, 1), features.rows)


def test_hubert_ends_with_zeros_and_hears_no_loudness(encoders: dict[str, SpeechEncoder]) -> None:
    quiet, loud = (encoders["hubert"].encode(gain * sound(6400)).rows for gain in (1, 5))
    assert (quiet[-1] == 0).all()
    assert (quiet[-2] != 0).any()
    assert torch.allclose(quiet, loud, atol=1e-4)


def test_wavlm_starts_with_its_first_row_twice_and_hears_loudness(encoders: dict[str, SpeechEncoder]) -> None:
    quiet, loud = (encoders["wavlm"].encode(gain * sound(6400)).rows for gain in (1, 5))
    assert torch.equal(quiet[0], quiet[1])
    assert not torch.equal(quiet[1], quiet[2])
    assert not torch.allclose(quiet, loud, atol=1e-4)


@pytest.mark.parametrize("shape", [(0,), (2, 640)])
def test_no_speech(encoders: dict[str, SpeechEncoder], shape: tuple[int, ...]) -> None:
    with pytest.raises(KeySyncError, match="expected one channel with at least one sample"):
        encoders["hubert"].encode(torch.zeros(shape))


# --- features in time


def test_rows_at_a_frames_own_time_are_the_frames() -> None:
    features = SpeechFeatures(torch.randn(4000, 3), "hubert")
    times = torch.arange(2000, dtype=torch.float64) / 25
    assert torch.equal(features.at(times), features.frames)
    assert torch.equal(features.at(times.numpy()), features.frames)


def test_rows_between_and_beyond() -> None:
    features = SpeechFeatures(torch.arange(10.0)[:, None] ** 2, "hubert")
    rows = features.at(torch.tensor([-1.0, 0.0, 0.05, 0.17, 0.18, 9.0], dtype=torch.float64))[..., 0]
    assert torch.allclose(rows, torch.tensor([[0, 0], [0, 1], [6.5, 12.5], [72.5, 81], [81, 81], [81, 81]]))


# --- long speech


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seconds", [59.9, 60, 60.03, 61, 79.99, 80, 80.04, 123.4])
def test_windows_keep_every_row_at_its_place(name: str, seconds: float) -> None:
    waveform, ears = sound(round(seconds * SAMPLE_RATE)), Ears()
    encoder = ENCODERS[name](ears)
    ours = encoder.encode(waveform).rows
    assert ears.longest <= ONE_PASS + FRAME
    assert torch.allclose(ours, encoder.encode(waveform, one_pass=len(waveform) + 2 * FRAME).rows, atol=1e-6)


def test_long_speech_is_not_copied() -> None:
    """WavLM takes the signal as it is: only the window at an odd end has silence behind it."""
    waveform, ears = sound(round(99.96 * SAMPLE_RATE)), Ears()
    ENCODERS["wavlm"](ears).encode(waveform)
    here = waveform.untyped_storage().data_ptr()
    assert [piece == here for piece in ears.pieces] == [True] * (len(ears.pieces) - 1) + [False]
    assert len(ears.pieces) == 5


@pytest.mark.parametrize("name", NAMES)
def test_difference_of_windows_is_measured_and_reported(
    encoders: dict[str, SpeechEncoder], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "keysync.speech"):
        difference = window_difference(encoders[name], sound(61 * SAMPLE_RATE))
    assert 0 < difference < 0.1
    assert f"windows differ from one pass by {difference:.2g} on 61.0 s of speech" in caplog.text


# --- files


def as_file(folder: Path, target: Path, change: Callable[[dict[str, Tensor]], Any], **metadata: str) -> Path:
    """The folder's weights, changed, as one file."""
    tensors = load_file(folder / "model.safetensors")
    tensors = change(tensors) or tensors
    if target.suffix == ".safetensors":
        save_file(tensors, target, metadata)
    else:
        torch.save(tensors, target)
    return target


def older(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    halves = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new, old in halves.items():
        tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    return tensors


LAYOUTS: dict[str, Callable[[dict[str, Tensor], str], dict[str, Tensor]]] = {
    "as it is": lambda tensors, name: tensors,
    "inside a model with a head": lambda tensors, name: {
        **{f"{name}.{key}": tensor for key, tensor in tensors.items()},
        "lm_head.weight": torch.zeros(5, 64),
    },
    "older names": lambda tensors, name: older(tensors),
    "without what training needs": lambda tensors, name: {
        key: tensor for key, tensor in tensors.items() if key != "masked_spec_embed"
    },
}


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_one_file(
    folders: dict[str, Path],
    encoders: dict[str, SpeechEncoder],
    tmp_path: Path,
    name: str,
    layout: str,
    suffix: str,
) -> None:
    """Without settings: shapes tell the widths, and heads are 64 wide as in every published file."""
    file = as_file(folders[name], tmp_path / f"weights{suffix}", lambda tensors: LAYOUTS[layout](tensors, name))
    waveform = sound(5 * FRAME)
    assert torch.equal(load_encoder(name, file).encode(waveform).rows, encoders[name].encode(waveform).rows)


def test_folder_with_an_older_pickle(
    folders: dict[str, Path], encoders: dict[str, SpeechEncoder], tmp_path: Path
) -> None:
    as_file(folders["hubert"], tmp_path / "pytorch_model.bin", older)
    (tmp_path / "config.json").write_text((folders["hubert"] / "config.json").read_text())
    waveform = sound(5 * FRAME)
    ours = load_encoder("hubert", tmp_path).encode(waveform).rows
    assert torch.equal(ours, encoders["hubert"].encode(waveform).rows)


def test_settings_in_metadata_go_before_shapes(
    folders: dict[str, Path], encoders: dict[str, SpeechEncoder], tmp_path: Path
) -> None:
    settings = json.dumps({"num_attention_heads": 2})
    file = as_file(folders["hubert"], tmp_path / "hubert.safetensors", lambda tensors: tensors, config=settings)
    encoder = load_encoder("hubert", file)
    assert encoder.model.config.num_attention_heads == 2
    waveform = sound(5 * FRAME)
    assert not torch.equal(encoder.encode(waveform).rows, encoders["hubert"].encode(waveform).rows)


def test_half_precision(folders: dict[str, Path], encoders: dict[str, SpeechEncoder]) -> None:
    encoder = load_encoder("hubert", folders["hubert"], dtype=torch.bfloat16)
    assert encoder.model.dtype == torch.bfloat16
    waveform = sound(5 * FRAME)
    rows = encoder.encode(waveform).rows
    assert rows.dtype == torch.float32
    # As a whole: processors round bfloat16 at different places, and the worst single number is up to them. Here 1.2 %.
    expected = encoders["hubert"].encode(waveform).rows
    assert (rows - expected).norm() < 0.05 * expected.norm()


# --- errors


def test_unknown_encoder(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="unknown speech encoder 'ears': choose one of hubert, wavlm, whisper"):
        load_encoder("ears", tmp_path)


def test_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"contains no weights: expected model\.safetensors or pytorch_model\.bin"):
        load_encoder("hubert", tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="no such file"):
        load_encoder("hubert", tmp_path / "hubert.safetensors")


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("hubert", "wavlm", "is a WavLM speech encoder .*: expected a HuBERT speech encoder"),
        ("wavlm", "hubert", "is a HuBERT speech encoder .*: expected a WavLM speech encoder"),
    ],
)
def test_the_other_encoder(folders: dict[str, Path], name: str, other: str, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        load_encoder(name, folders[other])


def test_another_kind_of_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(KeySyncError, match="expected a HuBERT speech encoder"):
        load_encoder("hubert", tmp_path / "other.safetensors")


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("encoder.layers.1.attention.k_proj.weight"), "lacks encoder.layers.1.attention.k_proj.weight"),
        (
            lambda tensors: {f"model.{name}": tensor for name, tensor in tensors.items()},
            "is not a complete speech encoder",
        ),
        (
            lambda tensors: tensors.update({"encoder.adapter.weight": torch.zeros(2)}),
            "also contains encoder.adapter.weight: load a folder that contains its config.json",
        ),
        (
            lambda tensors: tensors.update({"encoder.layer_norm.bias": torch.zeros(2)}),
            r"encoder.layer_norm.bias has shape \(2,\): expected \(64,\); use the config.json that belongs to it",
        ),
    ],
)
def test_missing_and_misshapen_tensors(
    folders: dict[str, Path], tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    file = as_file(folders["hubert"], tmp_path / "hubert.safetensors", change)
    with pytest.raises(KeySyncError, match=message):
        load_encoder("hubert", file)


def test_truncated_file(folders: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "hubert.safetensors"
    file.write_bytes((folders["hubert"] / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(KeySyncError, match="truncated"):
        load_encoder("hubert", file)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("owned",)


@pytest.mark.parametrize("content", [Evil(), {"cfg": Evil(), "model": {}}])
def test_pickle_that_wants_code(tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(content, tmp_path / "WavLM.pt")
    with pytest.raises(KeySyncError, match="is refused"):
        load_encoder("wavlm", tmp_path / "WavLM.pt")
    assert "owned" not in capsys.readouterr().out


def test_heads_that_nothing_tells(folders: dict[str, Path], tmp_path: Path) -> None:
    import transformers

    config = transformers.HubertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7
    )
    transformers.HubertModel(config).save_pretrained(tmp_path)
    load_encoder("hubert", tmp_path)
    with pytest.raises(
        KeySyncError, match="is 32 channels wide, not a multiple of the head dim 64: load a folder that contains its"
    ):
        load_encoder("hubert", tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{", "config.json is not JSON"),
        ("[]", "config.json contains no settings: expected a JSON object"),
        ('{"num_attention_heads": 7}', "are invalid .*: use the config.json that belongs to it"),
        ('{"conv_stride": [5, 2, 2, 2, 2, 2, 1]}', "has 160 samples per feature row: expected 320"),
        ('{"num_hidden_layers": 3}', "lacks encoder.layers.2"),
    ],
)
def test_wrong_settings(folders: dict[str, Path], tmp_path: Path, settings: str, message: str) -> None:
    (tmp_path / "config.json").write_text(settings)
    as_file(folders["hubert"], tmp_path / "model.safetensors", lambda tensors: tensors)
    with pytest.raises(KeySyncError, match=message):
        load_encoder("hubert", tmp_path)


def test_microsoft_model_that_wants_normalised_speech(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(folders["wavlm"] / "model.safetensors")
    model = {**tensors, "post_extract_proj.weight": torch.zeros(1)}
    torch.save({"cfg": {"normalize": True}, "model": model}, tmp_path / "WavLM.pt")
    with pytest.raises(KeySyncError, match=r"is a WavLM for normalised speech: expected WavLM-Base\+"):
        load_encoder("wavlm", tmp_path / "WavLM.pt")


def test_without_transformers(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("transformers"))):
        load_encoder("hubert", folders["hubert"])


@pytest.mark.parametrize("seconds", [0.02, 1.0, 12.0])
def test_wavlm_s_attention_is_transformers_own(encoders: dict[str, SpeechEncoder], seconds: float) -> None:
    """Also where the queries are more than are computed at once."""
    model = encoders["wavlm"].model
    hidden = torch.randn(
        1, max(1, round(50 * seconds)), model.config.hidden_size, generator=torch.Generator().manual_seed(1)
    )
    bias = theirs = None
    with torch.no_grad():
        for layer in model.encoder.layers:
            attention = layer.attention
            expected, _, theirs = type(attention).forward(attention, hidden, position_bias=theirs)
            made, _, bias = attention(hidden, position_bias=bias)
            torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
