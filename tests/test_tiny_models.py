"""The tiny models of the tests: files like any others, of the published architecture, that say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from keysync.network.stage import STAGES
from keysync.speech.encoders import load_encoder
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import load_stage
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors

from .tiny_models import AUDIO_CHANNELS, LATENT_SIZE, write_tiny_models

STAGE_NAMES = ("keyframe", "interpolation")


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_stages_load_and_say_that_nobody_trained_them(name: str, tiny_files: dict[str, Path]) -> None:
    stage = load_stage(tiny_files[name], expect=name)
    assert (stage.spec.latent_size, stage.spec.audio_channels) == (LATENT_SIZE, AUDIO_CHANNELS)
    assert stage.spec.image_size == (64, 64)
    published = STAGES[name]
    assert (stage.spec.window, stage.spec.speech_encoder) == (published.window, published.speech_encoder)
    assert stage.spec.unet.in_channels == published.unet.in_channels
    assert (stage.learned_mask is None) == (name == "keyframe")
    with safe_open(tiny_files[name], framework="pt") as file:
        assert file.metadata()["keysync.untrained"] == "true"
    found = describe(tiny_files[name])
    assert (found.kind, found.untrained, found.problem) == (name, True, None)
    assert "training: none: untrained weights" in str(found)


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_no_layer_starts_at_zero(name: str, tiny_files: dict[str, Path]) -> None:
    for key, tensor in read_tensors(tiny_files[name])[0].items():
        assert tensor.isfinite().all(), key
        assert tensor.ndim < 2 or tensor.any(), key


def test_vae_and_speech_encoders_load(tiny_files: dict[str, Path]) -> None:
    vae = load_vae(tiny_files["vae"])
    pictures = vae.decode(vae.encode(torch.rand(1, 64, 64, 3)))
    assert pictures.shape == (1, 64, 64, 3)
    for name in ("hubert", "wavlm"):
        encoder = load_encoder(name, tiny_files[name])
        assert encoder.encode(torch.randn(16_000)).rows.shape[1] == AUDIO_CHANNELS


def test_a_seed_means_the_same_weights_and_touches_no_other_dice(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        write_tiny_models(tmp_path / str(seed), seed)
    assert torch.equal(state, torch.random.get_rng_state())
    for path in tiny_files.values():
        name = (
            Path(path.name)
            if path.is_file()
            else next(Path(path.name, file.name) for file in path.iterdir() if file.suffix == ".safetensors")
        )
        first, again, other = (
            read_tensors(folder / name)[0] for folder in (tiny_files["vae"].parent, tmp_path / "0", tmp_path / "1")
        )
        assert all(torch.equal(first[key], again[key]) for key in first), name
        assert any(not torch.equal(first[key], other[key]) for key in first), name


def test_they_are_small(tiny_files: dict[str, Path]) -> None:
    files = [file for file in tiny_files["vae"].parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 20e6
