"""Rows in a file are those that were written."""

from __future__ import annotations

import gc
import tempfile
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.speech.features import SpeechFeatures
from keysync.speech.spool import HELD, SpooledFeatures, SpooledRows


def rows_of(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [1, 40, 9000], ids=["one", "in memory", "in a file"])
def test_they_are_read_as_from_a_tensor(count: int) -> None:
    rows = rows_of(count, 2, 32)
    assert (rows.nbytes > HELD) is (count == 9000)
    kept = SpooledRows(rows.split(7))
    assert len(kept) == count
    last = count - 1
    for asked in (slice(None), slice(3, 20), slice(None, None, 3), [last, 0, last], [0], [min(3, last), min(4, last)]):
        torch.testing.assert_close(kept[asked], rows[asked], rtol=0, atol=0)
    several = torch.tensor([[last, 0, 0], [last // 2, last, 0]])
    torch.testing.assert_close(kept[several], rows[several], rtol=0, atol=0)


def test_features_give_the_same_at_all_times() -> None:
    features = SpeechFeatures(rows_of(5000, 70), "hubert")
    assert features.rows.nbytes > HELD
    kept = SpooledFeatures.of(features)
    for times in (np.arange(2500) / 25, np.array([-1.0, 0.013, 49.9, 99.99, 200.0]), torch.tensor([3.3, 1.1])):
        torch.testing.assert_close(kept.at(times), features.at(times), rtol=0, atol=0)


def test_rows_have_any_shape() -> None:
    for rows in (rows_of(5), rows_of(5, 3), rows_of(5, 2, 3).double(), rows_of(4, 2, 6)[:, :, ::2]):
        kept = SpooledRows([rows])
        torch.testing.assert_close(kept[[4 % len(rows), 1]], rows[[4 % len(rows), 1]], rtol=0, atol=0)


def test_no_rows() -> None:
    assert SpooledRows([]).__len__() == 0
    assert SpooledRows([torch.zeros(0, 2, 3)])[:].shape == (0, 2, 3)
    assert SpooledRows([rows_of(3, 2)])[[]].shape == (0, 2)


@pytest.mark.parametrize("asked", [[3], [-1], [0, 7]])
def test_a_row_that_there_is_not(asked: list[int]) -> None:
    with pytest.raises(IndexError, match="of 3"):
        SpooledRows([rows_of(3, 2)])[asked]


def test_threads_read_at_once() -> None:
    rows = rows_of(9000, 2, 32)
    kept = SpooledRows([rows])

    def same(start: int) -> bool:
        return all(torch.equal(kept[[n, n + 40]], rows[[n, n + 40]]) for n in range(start, 8900, 97))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(same, range(8)))


def test_parts_are_taken_one_by_one() -> None:
    """Only one of them is in memory at a time."""
    given: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def parts() -> Iterator[Tensor]:
        for _ in range(4):
            gc.collect()
            alive.append(sum(one() is not None for one in given))
            part = torch.zeros(11, 3)
            given.append(weakref.ref(part))
            yield part
            del part

    SpooledRows(parts())
    assert max(alive) <= 1


def test_the_file_goes_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = SpooledRows([rows_of(9000, 2, 32)])
    file = kept._file
    assert not file.closed
    del kept
    gc.collect()
    assert file.closed
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert len(SpooledRows([rows_of(40, 2, 32)])) == 40
    with pytest.raises(KeySyncError, match=r"could not be kept: the folder .*gone does not exist"):
        SpooledRows([rows_of(9000, 2, 32)])
