"""Functions of the user's own, which settings name as `package.module:function`."""

from __future__ import annotations

import importlib
from typing import Any

from keysync.errors import KeySyncError


def is_named(name: str) -> bool:
    """Whether a text names a function."""
    module, colon, function = name.partition(":")
    return bool(module and colon and function)


def function_named(name: str, what: str, takes: str) -> Any:
    """The function; `what` it is and what it `takes` are for the error.

    Raises `KeySyncError` if its module cannot be imported or has no such function.
    """
    module, _, function = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything
        raise KeySyncError(
            f"cannot load the {what} {name} ({type(error).__name__}: {error}): name a module that Python can import"
        ) from error
    for part in function.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise KeySyncError(f"{module} has no function {function}: name one that takes {takes}")
    return found
