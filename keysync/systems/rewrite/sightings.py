"""What was seen of each frame in a survey, in a temporary file: the memory of a run is the same for a long film."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import KeySyncError
from .points import SEEN

# Points of the face mesh.
POINTS = 468


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame's face: `mesh` (468, 3) in pixels of the crop, `confidence` 0..1, `measures` (4,), the colours (p, 3),
    0..1, of the points `SEEN`, and whether the mouth is inside crop and mask: `whole`."""

    mesh: NDArray[np.float32]
    confidence: float
    measures: NDArray[np.float32]
    colours: NDArray[np.float32]
    whole: bool

    @property
    def light(self) -> float:
        """Log brightness of the face."""
        return float(np.log(max(self.colours.mean(), 1e-3)))


RECORD = np.dtype(
    [
        ("mesh", np.float32, (POINTS, 3)),
        ("confidence", np.float64),
        ("measures", np.float32, (4,)),
        ("colours", np.float32, (len(SEEN), 3)),
        ("whole", np.bool_),
    ]
)


class Sightings:
    """What was seen of frames, by their numbers in the clip: about 6 kB a frame, on disk until this object ends."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        with _disk():
            self._file = tempfile.TemporaryFile(prefix="keysync-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    @classmethod
    def of(cls, numbers: NDArray[np.int64], records: NDArray[np.void]) -> Sightings:
        """Those of `records` (n,) for frames with these numbers (n,)."""
        made = cls()
        with _disk():
            made._file.write(records.astype(RECORD, copy=False).tobytes())
        made._places = {number: place for place, number in enumerate(numbers.tolist())}
        return made

    def add(self, number: int, seen: Seen) -> None:
        """Adds a frame that was not added before."""
        record = np.array((seen.mesh, seen.confidence, seen.measures, seen.colours, seen.whole), RECORD)
        with _disk():
            self._file.seek(0, os.SEEK_END)
            self._file.write(record.tobytes())
        self._places[number] = len(self._places)

    def get(self, number: int) -> Seen | None:
        """What was seen of a frame, None if it was not looked at."""
        place = self._places.get(number)
        if place is None:
            return None
        self._file.seek(place * RECORD.itemsize)
        one = np.frombuffer(self._file.read(RECORD.itemsize), RECORD)[0]
        return Seen(one["mesh"], float(one["confidence"]), one["measures"], one["colours"], bool(one["whole"]))

    def all(self) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The numbers (n,) of all frames and their records (n,), in the order in which they were added."""
        self._file.seek(0)
        return np.array(list(self._places), np.int64), np.frombuffer(self._file.read(), RECORD)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeySyncError(
            f"cannot write to the temporary folder {tempfile.gettempdir()} ({error.strerror}): free some space, or set "
            "TMPDIR to another folder"
        ) from error
