"""Models are checked before any work, and what they are is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from keysync.errors import KeySyncError
from keysync.face import detectors
from keysync.systems.keysync.small import BUILT_IN
from training.data.index import EncoderInfo
from training.data.preparation.models import Models, open_models
from training.data.preparation.settings import ModelFile

from .small_videos import BrightnessDetector, small_settings


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)


def test_what_the_data_is_made_with(tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    files: dict[str, Any] = {name: ModelFile.of(tiny_files[name]) for name in ("vae", "hubert", "wavlm")}
    info = Models(small_settings(tmp_path, resolution=128, **files)).check()
    assert (info.resolution, info.latent_size, info.window) == ((128, 128), (16, 16), 14)
    assert info.encoders == {name: EncoderInfo(32, str(tiny_files[name])) for name in ("hubert", "wavlm")}
    assert (info.vae, info.detector, info.crop_scale) == (str(tiny_files["vae"]), "mediapipe", 2.0)


def test_what_it_is_made_with_where_none_is_given(tmp_path: Path) -> None:
    files = {"vae": ModelFile.of("vae"), "hubert": ModelFile.of("hubert"), "wavlm": None}
    info = Models(small_settings(tmp_path, crop_scale=1.4, **files)).check()
    assert info.encoders == {"hubert": EncoderInfo(128, BUILT_IN)}
    assert (info.vae, info.crop_scale) == (BUILT_IN, 1.4)


def test_a_process_loads_them_once(tmp_path: Path) -> None:
    assert open_models(small_settings(tmp_path)) is open_models(small_settings(tmp_path))
    assert open_models(small_settings(tmp_path / "other")) is not open_models(small_settings(tmp_path))


def test_a_vae_that_only_decodes(tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    tensors = load_file(tiny_files["vae"] / "diffusion_pytorch_model.safetensors")
    path = tmp_path / "decoder.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if name.startswith("decoder")}, path)
    with pytest.raises(KeySyncError, match=r"decoder.safetensors has no encoder: expected a complete VAE"):
        Models(small_settings(tmp_path, vae=ModelFile.of(path))).check()


def test_another_encoder(tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=str(tiny_files["vae"])):
        Models(small_settings(tmp_path, wavlm=ModelFile.of(tiny_files["vae"]))).check()


def test_the_detector_and_its_files_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, object]] = []

    def make(**how: object) -> BrightnessDetector:
        made.append(how)
        return BrightnessDetector()

    monkeypatch.setitem(detectors.DETECTORS, "face-alignment", make)
    settings = small_settings(tmp_path, detector="face-alignment", detector_weights=tmp_path, device="cuda:1")
    assert isinstance(Models(settings).detector, BrightnessDetector)
    assert made == [{"device": "cuda:1", "weights": tmp_path}]
