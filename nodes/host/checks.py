"""Checks before any work: models, speech and latents that do not match are errors."""

from __future__ import annotations

import math
from fractions import Fraction

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.method import LATENT_CHANNELS
from ...keysync.network.precision import is_finite
from ...keysync.network.stage import STAGES, StageSpec
from .network import KeySyncModel
from .sockets import Speech

LARGEST_DENOMINATOR = 100_000


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


def want_number(name: str, value: float) -> None:
    """Raises `KeySyncError` for NaN, which no limit of an input refuses, and for infinities."""
    if not math.isfinite(value):
        raise KeySyncError(f"{name} is {value}: expected a finite number")


def frame_rate(fps: float | Fraction) -> Fraction:
    """A frame rate that a media format can hold: one typed as a decimal number (29.97) is a fraction that none can.

    Raises `KeySyncError` for NaN, which no limit of an input refuses, and for what is no rate.
    """
    if not math.isfinite(fps) or not (rate := Fraction(fps).limit_denominator(LARGEST_DENOMINATOR)) > 0:
        raise KeySyncError(f"the frame rate is {float(fps)} fps: expected a positive number, such as 25")
    return rate


def want_finite(frames: Tensor, name: str) -> None:
    """Raises `KeySyncError` where numbers of these frames (n, ...) are not finite."""
    bad = [number for number, frame in enumerate(frames) if not is_finite(frame)]
    if bad:
        raise KeySyncError(
            f"{name} holds numbers that are not finite in {len(bad)} of {len(frames)} frames, first in frame {bad[0]}: "
            "check the nodes before this one"
        )
