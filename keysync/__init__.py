"""KeySync dubs a video with new speech: the lips follow the speech, everything else stays unchanged.

The names below are the public API; everything else may change between versions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import KeySyncError

if TYPE_CHECKING:
    from .dub import Settings
    from .job import FaceSource, dub_file
    from .report import Report
    from .systems.keysync.models import Models, load_models

__all__ = ["FaceSource", "KeySyncError", "Models", "Report", "Settings", "dub_file", "load_models"]
__version__ = "0.1.0"

# The module of each name, imported on first use because torch takes seconds to load.
_HOMES = {
    "FaceSource": ".job",
    "Models": ".systems.keysync.models",
    "Report": ".report",
    "Settings": ".dub",
    "dub_file": ".job",
    "load_models": ".systems.keysync.models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
