"""The fields of an index, checked: whole numbers, pairs of them, and names of files in the data's own folder."""

from __future__ import annotations

import re
from typing import Any

from keysync.strict_json import quoted

SHARD_NAME = re.compile(r"[\w-][\w.-]*\.tar")
TABLE_NAME = re.compile(r"[\w-]+\.safetensors")


def whole(value: object, least: int) -> int:
    """An integer of at least `least`. Raises `ValueError` for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{quoted(value)} is not an integer of at least {least}")
    return value


def pair(value: list[object], least: int) -> tuple[int, int]:
    """Two integers of at least `least`. Raises `ValueError` or `TypeError` for anything else."""
    first, second = value
    return whole(first, least), whole(second, least)


def shard_name(value: Any) -> str:
    """The name of a shard: never one that leads out of the data's folder. Raises `ValueError` or `TypeError`."""
    return _name(value, SHARD_NAME, "shard")


def table_name(value: Any) -> str:
    """The name of a table of clips, likewise."""
    return _name(value, TABLE_NAME, "table of clips")


def _name(value: Any, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"{quoted(value)} is not the name of a {what}")
    name: str = value
    return name
