"""Models are checked before any work, and what they are is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from keysync import landmarks
from keysync.errors import KeySyncError
from training.index import EncoderInfo
from training.preparation.models import Models, open_models
from training.preparation.settings import STAND_IN, ModelFile

from .small_videos import BrightnessDetector, small_settings


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(landmarks.DETECTORS, "mediapipe", BrightnessDetector)


def test_what_the_data_is_made_with(tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    settings = replace(small_settings(tmp_path), resolution=128, hubert=ModelFile.of(tiny_files["hubert"]))
    info = Models(settings).check()
    assert (info.resolution, info.latent_size, info.window) == ((128, 128), (16, 16), 14)
    assert info.encoders == {
        "hubert": EncoderInfo(32, str(tiny_files["hubert"])),
        "wavlm": EncoderInfo(32, STAND_IN),
    }
    assert (info.vae, info.detector) == (STAND_IN, "mediapipe")


def test_a_process_loads_them_once(tmp_path: Path) -> None:
    assert open_models(small_settings(tmp_path)) is open_models(small_settings(tmp_path))
    assert open_models(small_settings(tmp_path / "other")) is not open_models(small_settings(tmp_path))


def test_a_vae_that_only_decodes(tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    tensors = load_file(tiny_files["vae"] / "diffusion_pytorch_model.safetensors")
    path = tmp_path / "decoder.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if name.startswith("decoder")}, path)
    with pytest.raises(KeySyncError, match=r"decoder.safetensors has no encoder: give a whole VAE"):
        Models(small_settings(tmp_path, vae=ModelFile.of(path))).check()


def test_another_encoder(tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=str(tiny_files["vae"])):
        Models(small_settings(tmp_path, wavlm=ModelFile.of(tiny_files["vae"]))).check()
