"""The systems by name: the command line reads these tables."""

from __future__ import annotations

from .automatic import automatic
from .flashlips.system import FLASHLIPS
from .keyface.system import KEYFACE
from .keysync.system import KEYSYNC
from .renderer import System
from .rewrite.system import REWRITE

AUTOMATIC = automatic(REWRITE, KEYSYNC, FLASHLIPS)

SYSTEMS: dict[str, System] = {system.name: system for system in (AUTOMATIC, REWRITE, KEYSYNC, FLASHLIPS)}
# Those that can dub frames as they come.
LIVE: dict[str, System] = {system.name: system for system in (FLASHLIPS,)}
# Those that make a talking head of one picture.
HEADS: dict[str, System] = {system.name: system for system in (KEYFACE,)}
