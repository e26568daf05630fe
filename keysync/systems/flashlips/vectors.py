"""Lips vectors over time as a value: said by speech or read from a video, blended, moved, and drawn on any face."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import KeySyncError
from ...speech.curve import Curve


@dataclass(frozen=True, eq=False)
class LipsVectors(Curve):
    """`values` (frames, width) float32, `fps` frames a second from time 0; `model` names the FlashLips that they are
    of: those of another mean something else.

    Raises `KeySyncError` for another shape, for numbers that are not finite and for a rate that is not positive.
    """

    title: ClassVar[str] = "the curve of lips vectors"

    model: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.size:
            raise KeySyncError(f"the lips vectors have shape {list(self.values.shape)}: expected (frames, numbers)")
        super().__post_init__()

    def want_model(self, model: str) -> None:
        """Raises `KeySyncError` for another FlashLips than the one that they are of."""
        if self.model != model:
            raise KeySyncError(
                "the lips vectors are of another FlashLips file: make them with the one that draws", about="lips"
            )

    def blended(self, other: LipsVectors, share: NDArray[np.floating] | float) -> LipsVectors:
        """This with a `share` of the other's values in place of its own: a number, or one for each of its frames.

        The other is read at these frames' times; its last frame is held. Raises `KeySyncError` for those of another
        FlashLips file, and for another number of shares than frames.
        """
        other.want_model(self.model)
        shares = np.asarray(share, np.float32).reshape(-1, 1)
        if len(shares) not in (1, len(self.values)):
            raise KeySyncError(
                f"there are {len(shares)} shares but the lips vectors have {len(self.values)} frames: expected one for "
                "each, or one for all"
            )
        there = other.at(np.arange(len(self.values)) / self.fps)
        return replace(self, values=((1 - shares) * self.values + shares * there).astype(np.float32))
