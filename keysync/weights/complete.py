"""Whether a file holds exactly the tensors of a network."""

from __future__ import annotations

from pathlib import Path

from ..errors import KeySyncError
from .identify import Shapes


def check_complete(path: str | Path, what: str, prefix: str, needed: Shapes, held: Shapes) -> None:
    """Raises `KeySyncError` unless a file holds exactly the tensors of `what`, whose names there begin with `prefix`.

    `needed` and `held` are shapes by name without the prefix.
    """
    for problem, names in {
        "missing": [name for name in needed if name not in held],
        "misshapen": [name for name in needed if name in held and held[name] != needed[name]],
        "unknown": [name for name in held if name not in needed],
    }.items():
        if names:
            raise KeySyncError(
                f"{path} does not contain a complete {what}: {len(names)} {problem}, first {prefix}{names[0]}"
            )
