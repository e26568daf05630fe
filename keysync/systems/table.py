"""The systems by name: the command line reads this table."""

from __future__ import annotations

from .automatic import automatic
from .keysync.system import KEYSYNC
from .renderer import System
from .rewrite.system import REWRITE

AUTOMATIC = automatic(REWRITE, KEYSYNC)

SYSTEMS: dict[str, System] = {system.name: system for system in (AUTOMATIC, REWRITE, KEYSYNC)}
