"""The systems there are, by name: command line, identification and documents read this table."""

from __future__ import annotations

from .keysync.system import KEYSYNC
from .renderer import System

SYSTEMS: dict[str, System] = {KEYSYNC.name: KEYSYNC}
