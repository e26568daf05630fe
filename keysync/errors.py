"""The one exception of the library."""

from __future__ import annotations


class KeySyncError(Exception):
    """Something the user can put right; the message is one line: what came, what was needed, what to do."""
