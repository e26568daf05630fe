"""The random draws of training, as functions of the run's seed, the sample's number and the purpose.

Samples are numbered over the whole run and all processes, so resuming, the number of processes and the number of
workers change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from .table import Clip, Clips


def generator(seed: int, number: int, purpose: str) -> torch.Generator:
    """A CPU generator for the draw `purpose` of training sample `number`; accepts any integers."""
    # Hashed, because torch's generator uses only 32 bits of its seed: packed numbers would collide.
    digest = sha256(f"{seed} {number} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order (n,) int64 in which epoch `epoch` visits n clips."""
    return torch.randperm(n, generator=generator(seed, epoch, "order of clips"))


def visited(seed: int, epoch: int, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order (n,) int64 in which epoch `epoch` visits n clips: each n times its share of all frames, rounded up or
    down, and so clips of one length once. `ends` (n,) are the sums of their frames up to each clip's end."""
    n, total = len(ends), int(ends[-1])
    # n places at equal distances, from a random one on.
    first = int(torch.randint(total, (), generator=generator(seed, epoch, "first frame")))
    places = permutation(seed, epoch, n).numpy()
    np.multiply(places, total, out=places)
    np.add(places, first, out=places)
    np.floor_divide(places, n, out=places)
    return np.searchsorted(ends, places, side="right")


class Order:
    """The clip of sample `number` >= 0 among those of these `numbers`, a function of the seed and the number only: see
    `visited`. One epoch is kept."""

    def __init__(self, clips: Clips, numbers: NDArray[np.int64], seed: int) -> None:
        self._clips, self._numbers, self._seed = clips, numbers, seed
        self._ends = np.cumsum(clips.frames[numbers], dtype=np.int64)
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Clip:
        return self._clips[int(self._numbers[self.place(number)])]

    def place(self, number: int) -> int:
        """Which of the `numbers` sample `number` is of."""
        epoch, place = divmod(number, len(self))
        return int(self._visited(epoch)[place])

    def following(self, number: int) -> Iterator[Clip]:
        """The clips in the order of an epoch, from that of sample `number` on; then all, of which some had no turn."""
        epoch, place = divmod(number, len(self))
        order = self._visited(epoch)
        for turn in chain(order[place:], order[:place], range(len(self))):
            yield self._clips[int(self._numbers[turn])]

    def longest_first(self) -> Iterator[Clip]:
        """The clips, from the longest on."""
        for number in self._numbers[np.argsort(-self._clips.frames[self._numbers], kind="stable")]:
            yield self._clips[int(number)]

    def all(self) -> list[Clip]:
        """The clips, in the order of their places."""
        return [self._clips[int(number)] for number in self._numbers]

    def _visited(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, visited(self._seed, epoch, self._ends)
        return self._epoch[1]
