"""A KeySync stage as a KeyFace stage: the same network until it has learned what emotion is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from keysync.errors import KeySyncError
from keysync.network.stage import KEYFACE, Condition, Stage
from keysync.weights.checkpoint import load_stage
from training.config.config import TrainConfig, load_config
from training.weights.initial_weights import starting_stage
from training.weights.keysync_stage import as_keyface

from ...tiny_models import AUDIO_CHANNELS, LATENT_SIZE


def config(stage: str, **changes: Any) -> TrainConfig:
    words = {"resolution": "64", "head_dim": "32", "rgb_weight": "0", "lpips_weight": "0", "speech_encoder": "hubert"}
    name = stage.replace("_", "-")
    return load_config(name, None, words | ({"lpips_weight": "0"} if "keyframe" in name else {}) | changes)


def condition_of(stage: Stage, vector: torch.Tensor | None) -> Condition:
    torch.manual_seed(0)
    shape, channels = (1, stage.spec.window, 4, *LATENT_SIZE), stage.spec.unet.in_channels - 4
    return Condition(
        tokens=torch.randn(*shape[:2], stage.spec.unet.context_dim),
        reference=torch.randn(*shape[:2], channels, *LATENT_SIZE),
        known=torch.zeros(shape),
        mask=torch.ones(*shape[:2], 1, *LATENT_SIZE),
        vector=vector,
    )


@pytest.mark.parametrize("name", KEYFACE)
@torch.no_grad()
def test_the_same_network(name: str, tiny_files: dict[str, Path]) -> None:
    path = tiny_files[name.removeprefix("keyface_")]
    before, stage = load_stage(path, dtype=torch.float32), as_keyface(path, name)
    assert stage.spec.name == name
    vector = torch.randn(1, stage.spec.window, 512) if stage.spec.row.controls else None
    x = torch.randn(1, stage.spec.window, 4, *LATENT_SIZE, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor([2.0])
    ours, theirs = stage(x, sigma, condition_of(stage, vector)), before(x, sigma, condition_of(before, None))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", KEYFACE)
def test_a_run_starts_from_it(name: str, tiny_files: dict[str, Path]) -> None:
    path = tiny_files[name.removeprefix("keyface_")]
    settings = config(name, start=str(path), speech_encoder=load_stage(path).spec.speech_encoder)
    stage = starting_stage(settings, LATENT_SIZE, AUDIO_CHANNELS, 1.6)
    assert (stage.spec.name, stage.spec.crop_scale) == (name, 1.6)


def test_another_role(tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=r"is a KeySync keyframe stage .*: expected a KeySync interpolation stage"):
        as_keyface(tiny_files["keyframe"], "keyface_interpolation")


def test_new_weights_have_an_emotion() -> None:
    stage = starting_stage(replace(config("keyface_keyframe"), channel_mult=(1,), attention=(True,)), LATENT_SIZE, 32)
    assert (stage.spec.unet.vector_dim, stage.spec.unet.in_channels) == (512, 8)
