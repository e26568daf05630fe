"""Processes that act as one. `tests/training/test_train.py` has two that share nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate.utils
import pytest

from keysync.errors import KeySyncError
from training.run import together
from training.run.together import check_shared, decided, gathered


class Process:
    """One of two."""

    num_processes = 2

    def __init__(self, main: bool) -> None:
        self.is_main_process = main


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the other process says, in turn: it takes the place of the list that is broadcast, or is gathered."""
    said: list[Any] = []

    def broadcast(values: list[Any]) -> None:
        if said:
            values[:] = said.pop(0)

    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", broadcast)
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda values: [*values, *said.pop(0)])
    return said


def process(main: bool) -> Any:
    return Process(main)


def test_the_main_process_decides(others: list[Any]) -> None:
    assert decided(process(True), lambda: 3) == 3
    others.append([5, ""])
    assert decided(process(False), lambda: pytest.fail("another process decided")) == 5
    others.append([None, "the disk is full"])
    with pytest.raises(KeySyncError, match="the disk is full"):
        decided(process(False), lambda: 3)


def test_an_error_of_the_main_process_is_told(others: list[Any]) -> None:
    def fail() -> int:
        raise KeySyncError("no space")

    with pytest.raises(KeySyncError, match="no space"):
        decided(process(True), fail)


def test_values_of_all(others: list[Any]) -> None:
    others.append([2])
    assert gathered(process(True), 1) == [1, 2]


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        (("far", True, "digest"), None),
        (("far", False, "digest"), r"process 1 on far does not see the folder .*run of process 0 on .*: name a folder"),
        (("far", True, "another"), r"process 1 on far has other data in .* than process 0 on .*: copy the same data"),
    ],
)
def test_folders_that_are_shared_or_not(
    theirs: tuple[str, bool, str],
    wanted: str | None,
    tmp_path: Path,
    others: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others.append([theirs])
    folder = tmp_path / "run"
    # The mark's name is its own to tell.
    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", lambda values: None)
    if wanted is None:
        check_shared(process(True), folder, tmp_path / "data", "digest")
    else:
        with pytest.raises(KeySyncError, match=wanted):
            check_shared(process(True), folder, tmp_path / "data", "digest")
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_a_mark_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "SECONDS", 0.0)
    assert not together._sees(tmp_path / "mark")
