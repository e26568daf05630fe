"""A full disk is said in one line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from training.data.disk import disk, written


def test_a_full_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    path = tmp_path / "file"
    path.write_bytes(b"older")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(KeySyncError, match=r"cannot write .*file \(File too large\): choose another folder"):
            _fill(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def _fill(path: Path) -> None:
    with written(path) as file:
        file.write_bytes(bytes(2000))


def test_what_to_do_follows_from_the_reason(tmp_path: Path) -> None:
    message = r"cannot write .*x \(No space left on device\): free some disk space"
    with pytest.raises(KeySyncError, match=message), disk(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    message = r"cannot write .*x \(No such file or directory\): choose another folder"
    with pytest.raises(KeySyncError, match=message), written(tmp_path / "nowhere" / "x"):
        pass
