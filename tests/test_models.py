"""Five models that fit together, or a line that says which two do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from keysync.checkpoint import read_tensors, save_stage
from keysync.errors import KeySyncError
from keysync.layout import on_meta
from keysync.models import UNTRAINED, Models, load_models
from keysync.stage import Stage


def changed(stage: Stage, **changes: Any) -> Stage:
    """A stage without weights whose spec differs."""
    return on_meta(replace(stage.spec, **changes))


def test_stand_ins_for_all(models: Models) -> None:
    assert models.untrained
    assert models.origins == dict.fromkeys(
        ("keyframe", "interpolation", "vae", "hubert", "wavlm"), f"stand-in, {UNTRAINED}"
    )
    assert sorted(models.encoders) == ["hubert", "wavlm"]
    assert (models.keyframe.spec.name, models.interpolation.spec.name) == ("keyframe", "interpolation")
    assert {parameter.dtype for parameter in models.keyframe.parameters()} == {torch.float32}


def test_given_files_are_named_and_others_stood_in_for(tiny_files: dict[str, Path]) -> None:
    models = load_models(tiny_files["keyframe"], vae=str(tiny_files["vae"]), dtype=torch.bfloat16)
    assert models.untrained
    assert models.origins["keyframe"] == str(tiny_files["keyframe"])
    assert models.origins["vae"] == str(tiny_files["vae"])
    assert [name for name, origin in models.origins.items() if UNTRAINED in origin] == [
        "interpolation",
        "hubert",
        "wavlm",
    ]
    assert {parameter.dtype for parameter in models.interpolation.parameters()} == {torch.bfloat16}
    assert next(models.vae.parameters()).dtype == torch.float32


def test_all_given_is_no_stand_in(tiny_files: dict[str, Path]) -> None:
    models = load_models(**tiny_files)
    assert not models.untrained
    assert models.origins == {name: str(path) for name, path in tiny_files.items()}


def test_only_the_encoders_that_the_stages_want_are_loaded(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    stage = load_models().interpolation
    stage.spec = replace(stage.spec, speech_encoder="hubert")
    save_stage(stage, tmp_path / "hubert.safetensors")
    loaded = load_models(tiny_files["keyframe"], tmp_path / "hubert.safetensors")
    assert list(loaded.encoders) == ["hubert"]
    assert list(loaded.origins) == ["keyframe", "interpolation", "vae", "hubert"]


def test_a_stage_in_the_other_s_place(tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=r"is a KeySync interpolation stage .*: a KeySync keyframe stage was wanted"):
        load_models(tiny_files["interpolation"])
    with pytest.raises(KeySyncError, match=r"is a KeySync keyframe stage .*: a KeySync interpolation stage was wanted"):
        load_models(interpolation=tiny_files["keyframe"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_size": (8, 16)}, "the keyframe model works on 128x64 pixels in windows of 14 but the interpolation"),
        ({"window": 7}, "on 64x64 pixels in windows of 7 but the interpolation model on 64x64 pixels in windows of 14"),
        ({"speech_encoder": "whisper"}, "the keyframe model wants the speech encoder whisper: load it too"),
        (
            {"audio_channels": 768},
            "the keyframe model wants 768 speech channels but hubert gives 32: "
            r"give the hubert it was trained with \(--hubert\)",
        ),
    ],
)
def test_models_that_do_not_fit_together(changes: dict[str, Any], message: str, models: Models) -> None:
    with pytest.raises(KeySyncError, match=message):
        replace(models, keyframe=changed(models.keyframe, **changes))


def test_a_vae_that_is_only_a_decoder_or_of_another_size(
    models: Models, tiny_files: dict[str, Path], tmp_path: Path
) -> None:
    tensors, _ = read_tensors(tiny_files["vae"] / "diffusion_pytorch_model.safetensors")
    decoder = {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    save_file(decoder, tmp_path / "decoder.safetensors")
    with pytest.raises(KeySyncError, match=r"decoder\.safetensors holds only the VAE's decoder: give a whole one"):
        load_models(vae=tmp_path / "decoder.safetensors")
    vae = load_models().vae
    vae.downscale = 4
    with pytest.raises(KeySyncError, match="is a VAE of 4 pixels a latent but the models want 8"):
        replace(models, vae=vae)
