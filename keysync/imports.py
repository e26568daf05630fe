"""Imports of large packages on first use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import ModuleType


def import_alone(name: str) -> ModuleType:
    """The module, imported in a thread of its own. Raises what the import raises.

    Large packages try out others while they are imported, and some keep the traceback of such a try. It leads to every
    function that was running, and so would keep alive what they hold: the models, for as long as the process lives.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(import_module, name).result()
