"""The encodings of a clip's crops in the cache, in blocks: memory and an entry hold one block, whatever the length.

Crops that are encoded together are kept together, under their numbers in the source: on a GPU the last bits of an
encoding depend on its company.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cache import Cache, Entry

# Source frames of a block.
BLOCK = 256
# Part of the cache's limit that the encodings of one clip take: the rest of a longer clip is encoded each time, and
# neither its own beginning nor its track is dropped for it.
SHARE = 0.5

log = logging.getLogger(__name__)


class ClipEncodings:
    """What the cache holds of one clip's encodings; `key` names the entry of a block. Close it at the end."""

    def __init__(self, cache: Cache, key: Callable[[int], str], name: str) -> None:
        self._cache, self._key, self._name = cache, key, name
        self._room = int(SHARE * cache.limit)
        self._sizes: dict[int, int] = {}
        self._block: int | None = None
        self._held: dict[str, NDArray[Any]] = {}
        self._changed = self._told = False

    def find(self, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor | None:
        """The encodings (n, *shape) of these frames, encoded together; None where they are not kept."""
        self._open(numbers)
        held = self._held.get(_name(numbers))
        if held is None or held.shape[1:] != shape:
            return None
        if not self._told:
            log.info("%s: encodings of its crops are in the cache", self._name)
            self._told = True
        return torch.from_numpy(held.copy())

    def keep(self, numbers: Sequence[int], encodings: Tensor) -> None:
        """Keeps the encodings (n, ...) of these frames, which were encoded together, while there is room."""
        self._open(numbers)
        array = encodings.cpu().numpy()
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._held[_name(numbers)] = array
            self._changed = True

    def close(self) -> None:
        """Writes what is not written yet."""
        if self._changed and self._block is not None:
            self._sizes[self._block] = sum(array.nbytes for array in self._held.values())
            self._cache.store(self._key(self._block), Entry(self._held))
        self._changed = False

    def _open(self, numbers: Sequence[int]) -> None:
        """Takes up the block of these frames, which is that of the first."""
        block = numbers[0] // BLOCK
        if block == self._block:
            return
        self.close()
        self._block, key = block, self._key(block)
        entry = self._cache.load(key)
        try:
            self._held = {} if entry is None else _checked(entry)
        except (TypeError, ValueError) as error:
            self._cache.drop(key, error)
            self._held = {}
        size = sum(array.nbytes for array in self._held.values())
        self._room -= size - self._sizes.get(block, 0)
        self._sizes[block] = size


def _name(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _checked(entry: Entry) -> dict[str, NDArray[Any]]:
    """The arrays of an entry. Raises `TypeError` or `ValueError` where they are no encodings of what they name."""
    for name, array in entry.arrays.items():
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} holds {array.dtype}")
        if len(array.shape) < 2 or len(array) != len([int(number) for number in name.split(",")]):
            raise ValueError(f"{name} holds {array.shape}")
    return dict(entry.arrays)
