"""Five models that fit together, or a line that says which two do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from keysync.errors import KeySyncError
from keysync.network.stage import STAGES, Stage
from keysync.systems.keysync.generate import HostStage
from keysync.systems.keysync.models import Models, load_models
from keysync.systems.keysync.small import BUILT_IN, SMALL
from keysync.vae.vae import VAE, load_vae
from keysync.weights.checkpoint import save_stage
from keysync.weights.files import read_tensors
from keysync.weights.stage_format import on_meta

from ...tiny_models import write_encoder


def changed(stage: Stage | HostStage, **changes: Any) -> Stage:
    """A stage without weights whose spec differs."""
    return on_meta(replace(stage.spec, **changes))


def with_spec(stage: Stage | HostStage, **changes: Any) -> Stage:
    """The same weights under another spec."""
    other = changed(stage, **changes)
    assert isinstance(stage, Stage)
    other.load_state_dict(stage.state_dict(), assign=True)
    return other


@pytest.fixture(scope="module")
def small() -> Models:
    """All built in."""
    return load_models()


def test_all_built_in(small: Models) -> None:
    assert small.origins == dict.fromkeys(("keyframe", "interpolation", "vae", "hubert"), BUILT_IN)
    assert list(small.encoders) == ["hubert"]
    assert (small.keyframe.spec.name, small.interpolation.spec.name) == ("keyframe", "interpolation")
    assert isinstance(small.keyframe, Stage)
    assert {parameter.dtype for parameter in small.keyframe.parameters()} == {torch.float32}


def test_given_files_are_named_and_others_built_in(small: Models, tmp_path: Path) -> None:
    assert isinstance(small.interpolation, Stage)
    save_stage(small.interpolation, tmp_path / "mine.safetensors")
    models = load_models(interpolation=str(tmp_path / "mine.safetensors"), dtype=torch.bfloat16)
    assert models.origins == {**small.origins, "interpolation": str(tmp_path / "mine.safetensors")}
    assert models.files == {**small.files, "interpolation": tmp_path / "mine.safetensors"}
    assert isinstance(models.interpolation, Stage)
    assert isinstance(models.vae, VAE)
    assert {parameter.dtype for parameter in models.interpolation.parameters()} == {torch.bfloat16}
    assert next(models.vae.parameters()).dtype == torch.float32


def test_all_given(models: Models, tiny_files: dict[str, Path]) -> None:
    assert models.origins == {name: str(path) for name, path in tiny_files.items()}
    assert sorted(models.encoders) == ["hubert", "wavlm"]


def test_only_the_encoders_that_the_stages_want_are_loaded(
    models: Models, tiny_files: dict[str, Path], tmp_path: Path
) -> None:
    save_stage(with_spec(models.interpolation, speech_encoder="hubert"), tmp_path / "hubert.safetensors")
    files: dict[str, Any] = {**tiny_files, "interpolation": tmp_path / "hubert.safetensors"}
    loaded = load_models(**files)
    assert list(loaded.encoders) == ["hubert"]
    assert list(loaded.origins) == ["keyframe", "interpolation", "vae", "hubert"]


def test_published_stages_say_which_models_to_give_with_them(tmp_path: Path) -> None:
    """Narrow ones, of the published resolution and speech channels."""
    stages: dict[str, Any] = {}
    for name, published in STAGES.items():
        narrow = replace(published.unet, model_channels=64, channel_mult=(1, 1), attention=(False, True), head_dim=32)
        stages[name] = tmp_path / f"{name}.safetensors"
        save_stage(Stage(replace(published, unet=narrow)), stages[name])
    for name in ("hubert", "wavlm"):
        write_encoder(tmp_path / name, name, published.audio_channels)

    def fails(**given: Any) -> str:
        with pytest.raises(KeySyncError) as error:
            load_models(**stages, **given)
        return str(error.value)

    hubert, wavlm = tmp_path / "hubert", tmp_path / "wavlm"
    assert fails() == (
        "the keyframe model expects 768 speech channels but the built-in hubert provides 128: use the hubert that the "
        "model was trained with"
    )
    assert fails(hubert=hubert) == (
        "the interpolation model needs the wavlm speech encoder, which is missing: load wavlm"
    )
    assert fails(hubert=hubert, wavlm=wavlm) == (
        "the models work on 512x512 pixels, 2 times the face, in windows of 14 but the built-in VAE was trained with "
        "models of 128x128 pixels, 1.4 times the face: use the VAE that the models were trained with"
    )
    assert load_models(**stages, vae=SMALL["vae"], hubert=hubert, wavlm=wavlm).origins["vae"] == str(SMALL["vae"])
    with pytest.raises(KeySyncError, match=r"works on 512x512 pixels.* but the interpolation model works on 128x128"):
        load_models(stages["keyframe"])


def test_a_stage_in_the_other_s_place(tiny_files: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match=r"is a KeySync interpolation stage .*: expected a KeySync keyframe stage"):
        load_models(tiny_files["interpolation"])
    with pytest.raises(KeySyncError, match=r"is a KeySync keyframe stage .*: expected a KeySync interpolation stage"):
        load_models(interpolation=tiny_files["keyframe"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"latent_size": (8, 16)},
            "the keyframe model works on 128x64 pixels, 2 times the face, in windows of 14 but the interpolation",
        ),
        (
            {"window": 7},
            "on 64x64 pixels, 2 times the face, in windows of 7 but the interpolation model works on 64x64 pixels, "
            "2 times the face, in windows of 14",
        ),
        (
            {"speech_encoder": "ears"},
            "the keyframe model needs the ears speech encoder but this version of KeySync supports hubert, wavlm, "
            "whisper, wav2vec2, beats: update KeySync",
        ),
        (
            {"audio_channels": 768},
            "the keyframe model expects 768 speech channels but hubert provides 32: "
            "use the hubert that the model was trained with$",
        ),
    ],
)
def test_models_that_do_not_fit_together(changes: dict[str, Any], message: str, models: Models) -> None:
    with pytest.raises(KeySyncError, match=message):
        replace(models, keyframe=changed(models.keyframe, **changes))


def test_stages_in_each_other_s_place(models: Models) -> None:
    with pytest.raises(KeySyncError) as caught:
        Models(models.interpolation, models.keyframe, models.vae, models.encoders)
    assert str(caught.value) == "the interpolation model takes the place of the keyframe model: swap the two models"


def test_a_vae_that_is_only_a_decoder_or_of_another_size(
    models: Models, tiny_files: dict[str, Path], tmp_path: Path
) -> None:
    tensors, _ = read_tensors(tiny_files["vae"] / "diffusion_pytorch_model.safetensors")
    decoder = {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    save_file(decoder, tmp_path / "decoder.safetensors")
    files: dict[str, Any] = {**tiny_files, "vae": tmp_path / "decoder.safetensors"}
    with pytest.raises(KeySyncError, match=r"decoder\.safetensors contains only the decoder of a VAE: expected a"):
        load_models(**files)
    vae = load_vae(tiny_files["vae"])
    vae.downscale = 4
    with pytest.raises(KeySyncError, match="is a VAE with 4 pixels per latent but the models expect 8"):
        replace(models, vae=vae)
