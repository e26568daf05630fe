"""Checks before any work: models, speech and latents that do not match are errors."""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.method import LATENT_CHANNELS
from ...keysync.network.stage import STAGES, StageSpec
from .network import KeySyncModel
from .sockets import Speech


def spec_of(patcher: ModelPatcher) -> StageSpec:
    """Which stage a MODEL is; raises `KeySyncError` for one that Load KeySync Model did not load."""
    if not isinstance(patcher.model, KeySyncModel):
        raise KeySyncError(
            f"the model is {type(patcher.model).__name__}, not a KeySync model: load one with Load KeySync Model"
        )
    return patcher.model.spec


def want_stage(spec: StageSpec, name: str) -> None:
    if spec.reference != STAGES[name].reference:
        raise KeySyncError(
            f"this is the {spec.name} model but the {name} model is needed: "
            f"choose the {name} checkpoint in Load KeySync Model"
        )


def want_speech(spec: StageSpec, speech: Speech) -> None:
    features = speech.features
    if features.encoder != spec.speech_encoder:
        raise KeySyncError(
            f"the speech was encoded with {features.encoder} but the {spec.name} model was trained with "
            f"{spec.speech_encoder}: load {spec.speech_encoder} in Load Speech Encoder"
        )
    channels = features.rows.shape[-1]
    if channels != spec.audio_channels:
        raise KeySyncError(
            f"the speech has {channels} channels but the {spec.name} model needs {spec.audio_channels}: "
            f"load the {spec.speech_encoder} that it was trained with in Load Speech Encoder"
        )


def want_size(spec: StageSpec, latents: Tensor, name: str) -> None:
    height, width = spec.image_size
    wanted = (LATENT_CHANNELS, *spec.latent_size)
    if tuple(latents.shape[1:]) != wanted:
        raise KeySyncError(
            f"the shape of {name} is {list(latents.shape)} but the {spec.name} model needs frames of {list(wanted)}: "
            f"encode crops of {width}x{height} pixels with the VAE that it was trained with"
        )
