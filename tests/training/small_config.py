"""The tiny presets for small data and the tiny models: crops of 64 pixels, each stage with its published encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keysync.network.stage import STAGES
from training.config.config import TrainConfig, load_config


def small_settings(stage: str) -> dict[str, str]:
    """What differs from the preset, as on a command line."""
    return {"resolution": "64", "speech_encoder": STAGES[stage].speech_encoder}


def small_config(stage: str, **changes: Any) -> TrainConfig:
    return replace(load_config(f"tiny-{stage}", None, small_settings(stage)), **changes)
