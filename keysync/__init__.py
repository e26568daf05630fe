"""KeySync: dub a video with new speech; lips follow the speech, everything else stays as it is."""

from .errors import KeySyncError

__all__ = ["KeySyncError"]
__version__ = "0.1.0"
