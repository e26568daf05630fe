"""How much an evaluation of talking heads animates."""

from __future__ import annotations

from dataclasses import dataclass

from keysync.errors import KeySyncError


@dataclass(frozen=True)
class HeadScope:
    """How much is animated: `clips` films of `frames` frames, and one of `seconds` seconds."""

    seed: int = 0
    clips: int = 6
    frames: int = 79
    seconds: int = 60

    def __post_init__(self) -> None:
        if self.clips < 2:
            raise KeySyncError(f"{self.clips} clips give no interval: expected at least 2 (--clips)")
