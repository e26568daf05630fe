"""JSON from strangers: bounded in size and depth, each key once, finite numbers only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

# A config.json has a few thousand characters.
MOST_CHARACTERS = 2**20
# Nesting of objects and arrays; a config.json has five. Far below the depth at which Python's parser gives up.
MOST_DEPTH = 32
# Digits of an integer. Python itself refuses more than 4300, as the time to read them grows with their square.
MOST_DIGITS = 300
# Characters of a value that an error quotes.
QUOTED = 100


def strict_json(text: str | bytes, *, most: int = MOST_CHARACTERS) -> Any:
    """The value of a JSON text of at most `most` characters.

    Raises `ValueError` with a one-line reason for text that is not JSON, too long, nested too deeply, or not UTF-8, and
    for duplicate keys, huge integers, NaN and infinity.
    """
    if len(text) > most:
        raise ValueError(f"{len(text)} characters, expected at most {most}")
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = DECODER.decode(text)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels") from error
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises `ValueError` for a value that is nested too deeply."""
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MOST_DEPTH} levels")


def quoted(value: object) -> str:
    """A value as an error message quotes it: one printable line, shortened."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """A text as an error message quotes it, if it is a line already."""
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"key {quoted(name)} occurs twice")
        found[name] = value
    return found


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{quoted(text)} is beyond every number")
    return number


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_int=_integer, parse_float=_number, parse_constant=_constant)
