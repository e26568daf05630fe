"""Presets of sampling: how many evaluations of the networks buy how much; `docs/speed.md` has the measurements.

The levels were found by `python -m training.sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import KeySyncError
from .sampling import Sampling

EXACT = "exact"
# Noise levels of few steps, by name; the method's own schedule has eleven.
LEVELS: Mapping[str, tuple[float, ...]] = {
    "balanced": (700.0, 6.0, 0.9),
    "fast": (700.0, 3.0),
}
# For people.
PRESETS: Mapping[str, str] = {
    EXACT: "the method's own schedule",
    "balanced": "3 steps, less than a third of the evaluations",
    "fast": "2 steps, less than a fifth of the evaluations",
}


def make_sampling(
    preset: str = EXACT,
    steps: int | None = None,
    audio_guidance: float | None = None,
    identity_guidance: float | None = None,
    group: int | None = None,
    *,
    compiled: bool = False,
) -> Sampling:
    """Sampling by a preset; `steps` are a choice of `exact` alone, None its default.

    Raises `KeySyncError` for an unknown preset, and for steps with another.
    """
    if preset not in PRESETS:
        raise KeySyncError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}", about="preset")
    if preset != EXACT and steps is not None and steps != Sampling.evaluations:
        raise KeySyncError(
            f"{steps} steps do not go with the preset {preset}, which has a schedule of its own: choose the preset "
            f"{EXACT}, or {Sampling.evaluations} steps",
            about="steps",
        )
    return Sampling(
        evaluations=steps or Sampling.evaluations,
        audio_guidance=audio_guidance,
        identity_guidance=identity_guidance,
        group=group,
        levels=LEVELS.get(preset),
        compiled=compiled,
    )
