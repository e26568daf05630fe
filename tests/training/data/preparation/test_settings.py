"""Settings that make no sense are refused; models are known by their bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from keysync.systems.keysync.small import BUILT_IN, SMALL
from training.data import digest
from training.data.preparation.settings import ModelFile, Settings

MODEL = ModelFile(Path("model"), "1")


def test_models_are_known_by_their_bytes(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(content)
    a, b, c = (ModelFile.of(tmp_path / name) for name in "abc")
    assert a.digest == b.digest != c.digest
    assert a.origin == str(tmp_path / "a")


def test_a_built_in_model_is_known_by_its_bytes_too() -> None:
    vae = ModelFile.of("vae")
    assert (vae.path, vae.origin) == (SMALL["vae"], BUILT_IN)
    assert vae.digest == ModelFile.of(SMALL["vae"]).digest == digest.of_path(SMALL["vae"])


def test_a_model_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"cannot read the model .*gone \(No such file or directory\)"):
        ModelFile.of(tmp_path / "gone")


@pytest.mark.parametrize("resolution", [0, -64, 7, 500])
def test_a_resolution_without_whole_latents(resolution: int, tmp_path: Path) -> None:
    with pytest.raises(
        KeySyncError, match=rf"crops of {resolution} pixels: expected a multiple of 8; set --resolution"
    ):
        Settings(tmp_path, resolution, MODEL, {"hubert": MODEL})


def test_where_things_work(tmp_path: Path) -> None:
    settings = Settings(tmp_path, 64, MODEL, {"hubert": MODEL}, device="cuda:1")
    assert settings.size == (64, 64)
    assert settings.device_of("mediapipe") == settings.device_of("sharpness") == "cpu"
    assert settings.device_of("face-alignment") == settings.device_of("hyperiqa") == "cuda:1"
