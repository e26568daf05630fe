"""The faces of each frame of a video, held compactly: a long film has tens of thousands of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isnan
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .face import POINTS, Box, Face, Points
from .finder.squares import Square

# Faces that room is made for at once.
BLOCK = 256
# Confidence; box (x0, y0, x1, y1); place (x, y, side, angle), NaN for none.
NUMBERS = 9


class FaceStore(Sequence[list[Face]]):
    """The faces of each frame, in order; about 620 bytes a face. One thread may add while another reads."""

    def __init__(self) -> None:
        self._points: list[Points] = []
        self._numbers: list[NDArray[np.float64]] = []
        self._looks: dict[int, NDArray[np.float32]] = {}
        self._ends = array("q")

    def add(self, faces: Sequence[Face]) -> None:
        """Adds the faces of the next frame."""
        end = self._ends[-1] if self._ends else 0
        for face in faces:
            block, row = divmod(end, BLOCK)
            if block == len(self._points):
                self._points.append(np.empty((BLOCK, POINTS, 2), np.float32))
                self._numbers.append(np.empty((BLOCK, NUMBERS)))
            place = face.place
            where = (np.nan,) * 4 if place is None else (place.x, place.y, place.side, place.angle)
            self._points[block][row] = face.landmarks
            self._numbers[block][row] = face.confidence, *face.box, *where
            if face.look is not None:
                self._looks[end] = face.look
            end += 1
        self._ends.append(end)

    def first(self, count: int) -> FaceStore:
        """Those of the first frames, whatever is added later."""
        copied = FaceStore()
        copied._points, copied._numbers, copied._ends = self._points[:], self._numbers[:], self._ends[:count]
        copied._looks = self._looks.copy()
        return copied

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of faces in each frame (n,)."""
        ends = np.array(self._ends, dtype=np.int64)
        ends[1:] -= ends[:-1].copy()
        return ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, frame: int) -> list[Face]: ...
    @overload
    def __getitem__(self, frame: slice) -> list[list[Face]]: ...
    def __getitem__(self, frame: int | slice) -> list[Face] | list[list[Face]]:
        if isinstance(frame, slice):
            return [self[one] for one in range(*frame.indices(len(self)))]
        frame = range(len(self))[frame]
        start = self._ends[frame - 1] if frame else 0
        return [self._face(number) for number in range(start, self._ends[frame])]

    def _face(self, number: int) -> Face:
        block, row = divmod(number, BLOCK)
        return _StoredFace(self._points[block], self._numbers[block], row, self._looks.get(number))


class _StoredFace(Face):
    """A face of a store, read from there each time: the faces of a long film, all at once, would else take as much
    again as the store."""

    __slots__ = ("_look", "_numbers", "_points", "_row")
    _points: Points
    _numbers: NDArray[np.float64]
    _row: int
    _look: NDArray[np.float32] | None

    def __init__(
        self, points: Points, numbers: NDArray[np.float64], row: int, look: NDArray[np.float32] | None
    ) -> None:
        for name, value in zip(self.__slots__, (look, numbers, points, row), strict=True):
            object.__setattr__(self, name, value)

    @property
    def landmarks(self) -> Points:
        points: Points = self._points[self._row]
        return points

    @property
    def confidence(self) -> float:
        return float(self._numbers[self._row, 0])

    @property
    def box(self) -> Box:
        x0, y0, x1, y1 = self._numbers[self._row, 1:5].tolist()
        return x0, y0, x1, y1

    @property
    def place(self) -> Square | None:
        x, y, side, angle = self._numbers[self._row, 5:].tolist()
        return None if isnan(x) else Square(x, y, side, angle)

    @property
    def look(self) -> NDArray[np.float32] | None:
        return self._look
