"""The systems by name: the command line reads this table."""

from __future__ import annotations

from .keysync.system import KEYSYNC
from .renderer import System

SYSTEMS: dict[str, System] = {system.name: system for system in (KEYSYNC,)}
