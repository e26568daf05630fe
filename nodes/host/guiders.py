"""Which GUIDER samples a MODEL: that of a clip for KeySync's stages, that of a talking head for KeyFace's."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher

from ...keysync.errors import KeySyncError
from ...keysync.network.stage import StageSpec
from ...keysync.systems.keyface.emotion import Emotion
from ...keysync.weights.stage_format import in_words
from .checks import spec_of
from .clip_guider import ClipGuider
from .guider import LayoutGuider
from .head_guider import HeadGuider
from .sockets import Speech
from .sound import Sound


def make_guider(
    model: ModelPatcher,
    speech: Speech | Sound,
    *,
    identity: dict[str, Any] | None = None,
    keyframes: dict[str, Any] | None = None,
    emotion: Emotion | None = None,
    weak_model: ModelPatcher | None = None,
    audio_guidance: float = 0.0,
    identity_guidance: float = 0.0,
    autoguidance: float = 0.0,
) -> LayoutGuider:
    """The guider of a stage; `identity` and `keyframes` are LATENTs.

    Raises `KeySyncError` for what has no effect on this model, or does not fit it.
    """
    spec = spec_of(model)
    guided = any(prediction.weak for prediction in spec.guidance.predictions.values())
    _refuse(spec, bool(spec.row.controls), emotion=emotion)
    _refuse(spec, guided, weak_model=weak_model, autoguidance=autoguidance or None)
    face, ends = (None if latent is None else latent["samples"] for latent in (identity, keyframes))
    if spec.row.masked:
        if isinstance(speech, Sound):
            raise KeySyncError(
                f"the {in_words(spec.name)} model hears speech: connect Encode Speech in place of Encode Sound"
            )
        return ClipGuider(
            model,
            speech,
            identity=face,
            keyframes=ends,
            audio_guidance=audio_guidance,
            identity_guidance=identity_guidance,
        )
    if isinstance(speech, Speech):
        raise KeySyncError(
            f"the {in_words(spec.name)} model hears a sound: connect Encode Sound in place of Encode Speech"
        )
    return HeadGuider(
        model,
        speech,
        identity=face,
        keyframes=ends,
        emotion=emotion,
        weak=weak_model,
        audio_guidance=audio_guidance,
        identity_guidance=identity_guidance,
        autoguidance=autoguidance,
    )


def _refuse(spec: StageSpec, has_effect: bool, **inputs: object) -> None:
    """Raises `KeySyncError` for an input that is given and has no effect on a stage."""
    for name, value in inputs.items():
        if value is not None and not has_effect:
            raise KeySyncError(
                f"{name} has no effect on the {in_words(spec.name)} model: "
                f"{'disconnect it' if not isinstance(value, float) else 'set it to 0'}"
            )
