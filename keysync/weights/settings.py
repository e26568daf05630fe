"""The settings of transformers' models, from a config.json or a file's metadata: known keys with bounded values.

A weight file comes from strangers, and transformers takes from its settings which code to load and how much to build.
So only the keys of a table reach it, each within a range that holds every published model several times over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KeySyncError
from ..strict_json import MOST_CHARACTERS, quoted, strict_json

logger = logging.getLogger(__name__)

# transformers loads code or packages for these: dropped like all that no table has, but with a warning.
CODE = frozenset(
    (
        *("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
        *("attn_implementation_internal", "_attn_implementation_internal", "auto_map", "custom_pipelines"),
        *("quantization_config", "torch_dtype", "dtype", "trust_remote_code", "use_kernels"),
    )
)
# Of these, transformers itself writes a number type into every config.json.
WRITTEN_BY_TRANSFORMERS = frozenset(("torch_dtype", "dtype"))


@dataclass(frozen=True)
class Rule:
    """The values that a setting may have: in words, and the test for them."""

    expected: str
    holds: Callable[[Any], bool]


Table = Mapping[str, "Rule | Table"]


def whole(least: int, most: int) -> Rule:
    """An integer in a range."""
    return Rule(f"an integer from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def number(least: float, most: float) -> Rule:
    """A number in a range."""
    return Rule(
        f"a number from {least:g} to {most:g}", lambda value: type(value) in (int, float) and least <= value <= most
    )


def one_of(*choices: str) -> Rule:
    """One of these words."""
    return Rule(f"one of {', '.join(choices)}", lambda value: type(value) is str and value in choices)


def only(value: bool) -> Rule:
    """This value alone."""
    return Rule(str(value).lower(), lambda given: given is value)


def some(rule: Rule, most: int) -> Rule:
    """A list of 1 to `most` such values."""

    def holds(value: Any) -> bool:
        return isinstance(value, list) and 1 <= len(value) <= most and all(map(rule.holds, value))

    return Rule(f"1 to {most} times {rule.expected}", holds)


def either(rule: Rule, other: Rule) -> Rule:
    """A value that one of two rules allows."""
    return Rule(f"{rule.expected}, or {other.expected}", lambda value: rule.holds(value) or other.holds(value))


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
ACTIVATION = one_of(
    "gelu", "gelu_new", "gelu_fast", "gelu_python", "quick_gelu", "relu", "selu", "silu", "swish", "tanh"
)
EPSILON = number(0, 0.1)


def read_settings(source: Path | str, place: str) -> dict[str, Any]:
    """The settings in a config.json (a `Path`) or in a text of that form; `place` names it in errors.

    Raises `KeySyncError` for what is not a JSON object, or is out of the bounds of `strict_json`.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:  # no more than is needed to know that it is too long
                settings = strict_json(file.read(MOST_CHARACTERS + 1))
        else:
            settings = strict_json(source)
    except OSError as error:
        raise KeySyncError(f"{place} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeySyncError(f"{place} is not JSON ({error}): copy or download it again") from error
    if not isinstance(settings, dict):
        raise KeySyncError(f"{place} contains no settings: expected a JSON object")
    return settings


def allowed(settings: Mapping[str, Any], table: Table, place: str) -> dict[str, Any]:
    """The settings that the table has, in its order; null counts as absent. What is dropped is logged with `place`.

    Raises `ValueError` that names the key for a value that its rule does not allow.
    """
    kept: dict[str, Any] = {}
    for key, rule in table.items():
        value = settings.get(key)
        if value is None:
            continue
        if isinstance(rule, Rule):
            if not rule.holds(value):
                raise ValueError(f"{key} is {quoted(value)}, expected {rule.expected}")
            kept[key] = value
        elif isinstance(value, Mapping):
            kept[key] = allowed(value, rule, place)
        else:
            raise ValueError(f"{key} is {quoted(value)}, expected a JSON object")
    dropped = sorted(str(key) for key in settings.keys() - table.keys())
    code = [key for key in dropped if key in CODE and not _harmless(key, settings[key])]
    if code:
        logger.warning("%s: %s ignored, as settings choose no code", place, ", ".join(code))
    if dropped:
        logger.debug("%s: ignored, as no network here depends on them: %s", place, quoted(dropped))
    return kept


def _harmless(key: str, value: Any) -> bool:
    return value is None or (key in WRITTEN_BY_TRANSFORMERS and isinstance(value, str))
