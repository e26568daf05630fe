from __future__ import annotations

import errno
import tempfile

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.systems.rewrite.points import SEEN
from keysync.systems.rewrite.sightings import RECORD, Seen, Sightings


def make(number: int) -> Seen:
    draws = np.random.default_rng(number)

    def draw(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return draws.standard_normal(shape).astype(np.float32)

    return Seen(draw(468, 3), float(draws.random()), draw(4), draw(len(SEEN), 3), bool(number % 2))


def same(a: Seen | None, b: Seen) -> bool:
    return a is not None and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in RECORD.names or ())


def test_what_was_seen_is_there_again_whatever_the_order() -> None:
    sightings = Sightings()
    for number in (3, 5, 4):
        sightings.add(number, make(number))
    assert same(sightings.get(5), make(5))
    sightings.add(9, make(9))  # after a read
    assert all(same(sightings.get(number), make(number)) for number in (9, 3, 4, 5))
    assert sightings.get(6) is None


def test_all_records_make_the_same_again() -> None:
    sightings = Sightings()
    for number in (7, 2):
        sightings.add(number, make(number))
    numbers, records = sightings.all()
    assert numbers.tolist() == [7, 2]
    again = Sightings.of(numbers, records)
    assert same(again.get(2), make(2))
    assert same(again.get(7), make(7))


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(KeySyncError, match="No space left on device"):
        Sightings()
