"""Settings of transformers' models that come with weight files: what says how a model is built, never who runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# transformers takes code for these from a hub; a file from anywhere has no say in it.
CODE = ("attn_implementation", "_attn_implementation", "auto_map", "quantization_config")


def without_code(settings: Any) -> Any:
    """The settings, an object of JSON, without the keys that name code to run, at any depth."""
    if isinstance(settings, Mapping):
        return {key: without_code(value) for key, value in settings.items() if key not in CODE}
    if isinstance(settings, list):
        return [without_code(value) for value in settings]
    return settings
