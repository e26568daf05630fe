"""Inputs that nodes which sample have in common: seed, steps, preset and guidance. The defaults are the method's."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..keysync.network.schedule import AYS
from ..keysync.systems.keysync.presets import EXACT, PRESETS


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


def scale_input(name: str, tooltip: str) -> Any:
    """A guidance scale, of which 0 is the model's own."""
    return io.Float.Input(name, default=0.0, min=0.0, max=20.0, step=0.1, tooltip=tooltip)
