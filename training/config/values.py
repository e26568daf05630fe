"""The value of a setting: its type and rule, and how text and TOML express it.

Types are str, int, float, bool and tuples of one of them; a rule says which values of its type are valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from keysync.errors import KeySyncError
from keysync.strict_json import shortened

PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "false": False}[text.lower()],
}
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
EXAMPLES = {int: "1,2,4,4", float: "700,6,0.9", bool: "true,false", str: "tensorboard,wandb"}
# Whole numbers beyond this fit no tensor, and the largest no float either.
MOST = 2**63 - 1


class Rule(NamedTuple):
    """The expected values, as an error message words them, and the test for them."""

    expected: str
    holds: Callable[[Any], bool]


ANYTHING = Rule("anything", lambda value: True)
ABOVE_ZERO = Rule("a number above 0", lambda value: 0 < value < float("inf"))
SHARE = Rule("a share from 0 to 1", lambda value: 0 <= value <= 1)
FINITE = Rule("a finite number", lambda value: abs(value) < float("inf"))
EACH_ABOVE_ZERO = Rule("one or more whole numbers above 0", lambda value: len(value) > 0 and min(value) > 0)


def one_of(choices: Collection[str]) -> Rule:
    """One of these names."""
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices)


def at_least(least: int) -> Rule:
    """A finite number of at least this one."""
    return Rule(f"{least} or more", lambda value: least <= value < float("inf"))


def multiple_of(step: int) -> Rule:
    """A positive multiple."""
    return Rule(f"a multiple of {step} above 0", lambda value: value > 0 and value % step == 0)


def refusal(key: str, value: Any, expected: str) -> KeySyncError:
    """The error for an invalid value of a key."""
    return KeySyncError(f"{key} is {shortened(literal(value))}: expected {expected}")


def check(key: str, value: Any, kind: Any, rule: Rule) -> None:
    """Raises `KeySyncError` for a value of another type, or one that breaks the rule."""
    if kind in WORDS:
        fits = type(value) is kind or (kind is float and type(value) is int)
    else:
        fits = isinstance(value, tuple) and all(type(part) is kind.__args__[0] for part in value)
    numbers = [part for part in (value if isinstance(value, tuple) else (value,)) if type(part) is int]
    if not fits or any(abs(part) > MOST for part in numbers):
        raise refusal(key, value, _words(kind))
    if not rule.holds(value):
        raise refusal(key, value, rule.expected)


def parse(key: str, text: str, kind: Any) -> Any:
    """The value of a text such as `3e-5`, `true` or `1,2,4,4`. Raises `KeySyncError` for text that is no such value."""
    try:
        if kind in PARSERS:
            return PARSERS[kind](text)
        parts = [part.strip() for part in text.strip("[]()").split(",")]
        return tuple(PARSERS[kind.__args__[0]](part) for part in parts if part or len(parts) > 1)
    except (ValueError, KeyError) as error:
        raise refusal(key, text, _words(kind)) from error


def from_plain(value: Any, kind: Any) -> Any:
    """A TOML value as its type: lists become tuples, and integers are accepted as floats."""
    if isinstance(value, list):
        part = kind.__args__[0] if kind not in PARSERS else kind
        return tuple(from_plain(entry, part) for entry in value)
    return float(value) if kind is float and type(value) is int and abs(value) <= MOST else value


def literal(value: Any) -> str:
    """The value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'
    return repr(value)


def _words(kind: Any) -> str:
    return WORDS[kind] if kind in WORDS else f"values such as {EXAMPLES[kind.__args__[0]]}"
