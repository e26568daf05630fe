"""The boxes of the people in each frame of a video, held in one array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .face import Box


@dataclass(frozen=True, eq=False)
class Boxes(Sequence[Mapping[int, Box]]):
    """The boxes of people in each of so many `frames`, by the index that chooses them.

    `table` (m, 6) float64: frame, index and box (x0, y0, x1, y1) of each; frames are in order.
    """

    table: NDArray[np.float64]
    frames: int

    @classmethod
    def of(cls, boxes: Iterable[tuple[int, int, Box]], frames: int) -> Boxes:
        """Those of (frame, index, box), in any order of frames."""
        numbers = chain.from_iterable((frame, index, *box) for frame, index, box in boxes)
        table = np.fromiter(numbers, np.float64).reshape(-1, 6)
        return cls(table[np.argsort(table[:, 0], kind="stable")], frames)

    def __len__(self) -> int:
        return self.frames

    @overload
    def __getitem__(self, frame: int) -> dict[int, Box]: ...
    @overload
    def __getitem__(self, frame: slice) -> list[dict[int, Box]]: ...
    def __getitem__(self, frame: int | slice) -> dict[int, Box] | list[dict[int, Box]]:
        if isinstance(frame, slice):
            return [self[one] for one in range(*frame.indices(self.frames))]
        frame = range(self.frames)[frame]
        start, stop = np.searchsorted(self.table[:, 0], (frame, frame + 1))
        return {int(index): (x0, y0, x1, y1) for _, index, x0, y0, x1, y1 in self.table[start:stop].tolist()}

    def at(self, frames: NDArray[np.int64]) -> Boxes:
        """Those of a video that shows these frames (n,) of this one."""
        starts, stops = np.searchsorted(self.table[:, 0], (frames, frames + 1))
        taken = stops - starts
        rows = np.repeat(starts - np.cumsum(taken) + taken, taken) + np.arange(taken.sum())
        table = self.table[rows]
        table[:, 0] = np.repeat(np.arange(len(frames)), taken)
        return Boxes(table, len(frames))
