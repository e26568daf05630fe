"""A LoRA applied to a stage: what training calls the merged stage, and files that fit no stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.stage import Stage
from keysync.systems.keysync.models import Models as KeySyncModels
from keysync.systems.keysync.models import load_models
from keysync.systems.table import SYSTEMS
from keysync.weights.checkpoint import load_stage
from keysync.weights.lora import apply_lora
from tests.tiny_models import AUDIO_CHANNELS, LATENT_SIZE
from tests.training.small_config import small_config
from training.weights.initial_weights import starting_stage
from training.weights.lora import merged, write_lora


@pytest.fixture(scope="module")
def lora(tiny_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stage]:
    """A LoRA for the tiny keyframe stage, and that stage with it merged in."""
    config = small_config("keyframe", trainable="lora", start=str(tiny_files["keyframe"]), lora_rank=3, lora_alpha=6.0)
    stage = starting_stage(config, LATENT_SIZE, AUDIO_CHANNELS)
    torch.manual_seed(5)
    for name, parameter in stage.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path_factory.mktemp("lora") / "person.safetensors"
    write_lora(path, stage.spec, stage.state_dict(), config, {})
    return path, merged(stage)


def weights(stage: Stage) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in stage.state_dict().items()}


def test_it_is_what_training_merges(lora: tuple[Path, Stage], tiny_files: dict[str, Path]) -> None:
    path, expected = lora
    first = load_stage(tiny_files["keyframe"], dtype=torch.float32)
    second = load_stage(tiny_files["interpolation"], dtype=torch.float32)
    before, other = weights(first), weights(second)
    assert apply_lora(path, second, first) is first
    torch.testing.assert_close(weights(first), weights(expected))
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights(first).items())
    assert all(torch.equal(other[name], tensor) for name, tensor in weights(second).items())


def test_halves_are_changed_in_float32(lora: tuple[Path, Stage], tiny_files: dict[str, Path]) -> None:
    path, expected = lora
    half = apply_lora(path, load_stage(tiny_files["keyframe"], dtype=torch.float16))
    for name, tensor in weights(expected).items():
        torch.testing.assert_close(half.state_dict()[name].float(), tensor, rtol=2e-3, atol=2e-3)


def test_models_with_it_are_others_for_what_is_kept(lora: tuple[Path, Stage], tiny_files: dict[str, Path]) -> None:
    path, expected = lora
    given: dict[str, Any] = {name: tiny_files[name] for name in ("keyframe", "interpolation", "vae", "hubert", "wavlm")}
    models, plain = load_models(**given, lora=path), load_models(**given)
    assert isinstance(models.keyframe, Stage)
    torch.testing.assert_close(weights(models.keyframe), weights(expected))
    assert models.files["lora"] == path
    assert models.origins["lora"] == str(path)
    assert "lora" not in plain.files


def test_the_option_of_a_dub_applies_it(lora: tuple[Path, Stage], tiny_files: dict[str, Path]) -> None:
    path, expected = lora
    system, parser = SYSTEMS["keysync"], argparse.ArgumentParser()
    for option in system.files:
        option.add(parser)
    words = [f"--{stage}-model={tiny_files[stage]}" for stage in ("keyframe", "interpolation")]
    words += [f"--{name}={tiny_files[name]}" for name in ("vae", "hubert", "wavlm")]
    given = vars(parser.parse_args([*words, f"--lora={path}"]))
    models = system.load(given, device=torch.device("cpu"), dtype=None)
    assert isinstance(models, KeySyncModels)
    assert isinstance(models.keyframe, Stage)
    torch.testing.assert_close(weights(models.keyframe), weights(expected))


def test_files_that_fit_no_stage(lora: tuple[Path, Stage], tiny_files: dict[str, Path], tmp_path: Path) -> None:
    path, _ = lora
    stage = load_stage(tiny_files["keyframe"], dtype=torch.float32)
    before = weights(stage)
    interpolation = load_stage(tiny_files["interpolation"], dtype=torch.float32)
    tensors = load_file(path)
    named = {"keysync.stage": "keyframe"}
    up = next(name for name in tensors if name.endswith(".lora_B.weight"))
    files = {
        "no LoRA": ({"weight": torch.zeros(3)}, named, "is not a LoRA: expected a file of training.export"),
        "a half": ({up: tensors[up]}, named, "is not a LoRA: .* lacks a half"),
        "another": ({**tensors, up: tensors[up][1:]}, named, "does not fit this network: diffusion_model"),
        "unknown": (
            {name.replace("attn1", "attn7"): tensor for name, tensor in tensors.items()},
            named,
            "does not fit this network: diffusion_model.*attn7",
        ),
        "of nothing": (tensors, {}, "is a LoRA for an unknown model: expected keyframe"),
    }
    for name, (content, metadata, message) in files.items():
        save_file(content, tmp_path / f"{name}.safetensors", metadata)
        with pytest.raises(KeySyncError, match=message):
            apply_lora(tmp_path / f"{name}.safetensors", stage)
    with pytest.raises(KeySyncError, match="is a LoRA for keyframe: expected interpolation"):
        apply_lora(path, interpolation)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(stage).items())
