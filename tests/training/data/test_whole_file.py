"""A file is there when all of it is written; a full disk is said in one line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data.whole_file import disk, whole_file


def test_it_replaces_an_older_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with whole_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt(), ValueError("no")])
def test_nothing_is_left_of_a_broken_one(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    wanted = KeySyncError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted), whole_file(path) as file:  # noqa: PT012 - the half file is part of the question
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(KeySyncError, match=r"file cannot be written \(File too large\): choose another place"):
            _fill(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def _fill(path: Path) -> None:
    with whole_file(path) as file:
        file.write(bytes(2000))


def test_what_to_do_follows_from_the_reason(tmp_path: Path) -> None:
    message = r"x cannot be written \(No space left on device\): free some space"
    with pytest.raises(KeySyncError, match=message), disk(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    message = r"x cannot be written \(No such file or directory\): choose another place"
    with pytest.raises(KeySyncError, match=message), whole_file(tmp_path / "nowhere" / "x"):
        pass
