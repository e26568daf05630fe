"""Samples that arrive in blocks and lie in one piece of memory, with silence behind them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Samples that there is room for at first. The system gives memory of this size where it is written, so room costs none.
ROOM = 1 << 24


class Samples:
    """A waveform that grows."""

    def __init__(self) -> None:
        self._room = silence(ROOM)
        self._count = 0

    @classmethod
    def sharing(cls, waveform: Tensor) -> Samples:
        """Those of a waveform (n,) float32 that is in memory already: it is not copied, and must not change."""
        shared = cls()
        shared._room, shared._count = waveform, len(waveform)
        return shared

    def __len__(self) -> int:
        return self._count

    def add(self, block: Tensor) -> None:
        """Adds samples (n,) float32."""
        count = self._count + len(block)
        if count > len(self._room):
            larger = silence(max(count, 2 * len(self._room)))
            larger[: self._count] = self._room[: self._count]
            self._room = larger
        self._room[self._count : count] = block
        self._count = count

    def first(self, count: int) -> Tensor:
        """The first samples (count,), with silence where there are fewer; they share memory where there is room."""
        if count <= len(self._room):
            return self._room[:count]
        return torch.nn.functional.pad(self._room[: self._count], (0, count - self._count))


def silence(count: int) -> Tensor:
    """Zeros (count,) float32 that take no memory until they are written."""
    return torch.from_numpy(np.zeros(count, np.float32))
