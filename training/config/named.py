"""Functions of the user's own, which settings name as `package.module:function`."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from keysync.errors import KeySyncError, one_line


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


def load_named(name: str, what: str, returns: str, device: torch.device) -> Any:
    """What the function returns for a device; `what` that is and what it `returns` are for the error.

    Raises `KeySyncError` as `function_named` does, and if the function fails.
    """
    load = function_named(name, what, f"a device and returns {returns}")
    try:
        return load(device)
    except Exception as error:  # a user's function may raise anything
        raise KeySyncError(f"the {what} {name} cannot be loaded ({one_line(error)}): correct its function") from error
