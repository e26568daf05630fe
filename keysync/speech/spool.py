"""Rows of a long speech in a temporary file, from which each window reads its own: an hour takes half a gigabyte for
each encoder."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import KeySyncError
from ..whole import reason
from .features import PORTION, SpeechFeatures, Times, rows_at

# Bytes that are held in memory before a file is begun.
HELD = 2**20


@dataclass(frozen=True, eq=False)
class SpooledFeatures:
    """Features in a temporary file."""

    rows: SpooledRows

    @classmethod
    def of(cls, features: SpeechFeatures) -> SpooledFeatures:
        """The same rows; see `SpooledRows` for errors."""
        return cls(SpooledRows(features.rows.split(PORTION)))

    def at(self, times: Times) -> Tensor:
        """The pairs of rows (n, 2, c) for frames shown at `times` (n,) seconds, see `features.rows_at`."""
        return rows_at(self.rows, times)


def spooled(rows: Any) -> Any:
    """What an encoder gives for a speech, in a file where it is `SpeechFeatures`; anything else as it is."""
    return SpooledFeatures.of(rows) if isinstance(rows, SpeechFeatures) else rows


class SpooledRows:
    """Rows (n, ...), in order, that are read by their numbers as those of a tensor are; threads may read at once.

    The file has no name in its folder, the system's for temporary files, and goes with this. Raises `KeySyncError`
    where it cannot be written.
    """

    def __init__(self, parts: Iterable[Tensor]) -> None:
        # Closed by the finalizer: a file that is collected open warns.
        self._file = tempfile.SpooledTemporaryFile(HELD)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._reading = Lock()
        self._row = torch.empty(0)
        self._count = 0
        try:
            for part in parts:
                self._row = part.new_empty(part.shape[1:])
                self._file.write(part.numpy().tobytes())
                self._count += len(part)
        except OSError as error:
            what, remedy = reason(error, Path(tempfile.gettempdir()) / "rows")
            raise KeySyncError(f"what encoders heard could not be kept: {what}; {remedy}") from error

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice | Sequence[int] | Tensor) -> Tensor:
        """The rows of a slice, or of numbers (...) as (..., *row). Raises `IndexError` for one that there is not."""
        if isinstance(rows, slice):
            rows = range(*rows.indices(self._count))
        asked = np.asarray(rows, dtype=np.int64)
        numbers, places = np.unique(asked, return_inverse=True)
        if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < self._count:
            raise IndexError(f"rows {numbers[0]} to {numbers[-1]} of {self._count}")
        found = self._row.new_empty(len(numbers), *self._row.shape)
        row = self._row.nbytes
        into = found.numpy().data.cast("B") if found.nbytes else memoryview(b"")
        ends = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        with self._reading:
            for start, stop in pairwise(ends):  # neighbours are read at once
                if start < stop and row:
                    self._file.seek(int(numbers[start]) * row)
                    into[start * row : stop * row] = self._file.read((stop - start) * row)
        if len(numbers) == asked.size and (places.reshape(-1) == np.arange(asked.size)).all():
            return found.reshape(*asked.shape, *self._row.shape)
        return found[torch.from_numpy(places.reshape(asked.shape))]
