"""What is wrong with one clip of prepared data."""

from __future__ import annotations

from keysync.errors import KeySyncError


class DamagedClip(KeySyncError):
    """Raised for a part of a clip that is missing, damaged or not finite; other clips may be intact."""
