"""Inputs that nodes which sample have in common: what a stage hears, seed, steps, preset and guidance.

The defaults are the method's.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..keysync.network.schedule import AYS
from ..keysync.systems.keysync.presets import EXACT, PRESETS
from .host.sockets import EmotionSocket, SoundSocket, SpeechSocket


def seed_input(tooltip: str = "Seed of the noise. The same seed gives the same result as on the command line.") -> Any:
    """The seed of the noise."""
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip=tooltip)


def steps_input(
    tooltip: str = "Sampling steps. 11 is the method's schedule; 10 is slightly faster; more steps interpolate it.",
) -> Any:
    """How many steps the full schedule has."""
    return io.Int.Input("steps", default=len(AYS), min=len(AYS) - 1, max=1000, tooltip=tooltip)


def preset_input() -> Any:
    """How many evaluations to spare; optional, since older workflows lack it."""
    return io.Combo.Input(
        "preset",
        options=list(PRESETS),
        default=EXACT,
        optional=True,
        tooltip="\n".join(
            (
                "How often the networks are evaluated. Measured on KeySync small; other models may lose more.",
                *(f"{name}: {what}" for name, what in PRESETS.items()),
            )
        ),
    )


def guidance_inputs() -> list[Any]:
    """The scales of guidance by the speech and by the reference."""
    return [
        scale_input(
            "audio_guidance",
            "How closely the lips follow the speech. 0 uses the model's default (5 for the published models).",
        ),
        scale_input(
            "identity_guidance",
            "How closely the face follows the reference. 0 uses the model's default (2 for the published models).",
        ),
    ]


def scale_input(name: str, tooltip: str, *, optional: bool = False) -> Any:
    """A guidance scale, of which 0 is the model's own."""
    return io.Float.Input(name, default=0.0, min=0.0, max=20.0, step=0.1, tooltip=tooltip, optional=optional)


def speech_input() -> Any:
    """What a stage hears."""
    return io.MultiType.Input(
        "speech",
        types=[SpeechSocket, SoundSocket],
        tooltip="From Encode Speech, with the encoder that this model was trained with. For a KeyFace model: from "
        "Encode Sound, with its two encoders.",
    )


def emotion_input() -> Any:
    """What a talking head feels."""
    return EmotionSocket.Input(
        "emotion",
        optional=True,
        tooltip="For KeyFace's keyframe model: from Emotion Curve. Without it, neutral.",
    )


def weak_inputs() -> list[Any]:
    """What guides KeyFace's interpolation; all optional, since older workflows lack them."""
    return [
        io.Model.Input(
            "weak_model",
            optional=True,
            tooltip="For KeyFace's interpolation model: the weaker copy that guides it, from Load KeyFace Model. "
            "Without it, the interpolation is not guided.",
        ),
        scale_input(
            "autoguidance",
            "How strongly weak_model guides the frames between keyframes. 0 uses the model's default (2 for the "
            "published model).",
            optional=True,
        ),
    ]
