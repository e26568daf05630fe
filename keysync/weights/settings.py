"""The config.json of transformers' models: it may describe how a model is built, but never name code to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# transformers loads code for these from a hub; a weight file must not control that.
CODE = ("attn_implementation", "_attn_implementation", "auto_map", "quantization_config")


def without_code(settings: Any) -> Any:
    """The settings, a JSON object, without the keys that name code to run, at any depth."""
    if isinstance(settings, Mapping):
        return {key: without_code(value) for key, value in settings.items() if key not in CODE}
    if isinstance(settings, list):
        return [without_code(value) for value in settings]
    return settings
