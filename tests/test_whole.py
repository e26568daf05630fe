"""A file is there when all of it is written, and whatever else lies in its folder is not touched."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from keysync.whole import whole_file


def test_it_replaces_an_older_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with whole_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"older"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt(), ValueError("no")])
def test_nothing_is_left_of_a_broken_one(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with pytest.raises(type(error)), whole_file(path) as temporary:  # noqa: PT012 - the half file is in question
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_the_name_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"), whole_file(path) as temporary:
        temporary.write_bytes(b"all")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "nowhere" / "file"):
        pass


def test_two_at_a_time_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".mp4")
    with whole_file(path) as temporary:
        temporary.write_bytes(b"all")
    assert path.read_bytes() == b"all"


def test_names_differ(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        with whole_file(tmp_path / "file") as temporary:
            names.add(temporary)
    assert len(names) == 3


@pytest.mark.skipif(os.name == "nt", reason="links want privileges on Windows")
def test_a_link_in_the_way_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if its name were guessed; what it points to is not made, and the link stays."""
    monkeypatch.setattr("keysync.whole.secrets.token_hex", lambda count: "0" * count)
    with whole_file(tmp_path / "file") as temporary:
        pass
    temporary.symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "other"):
        pass
    assert sorted(tmp_path.iterdir()) == [temporary, tmp_path / "file"]
    assert temporary.is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="permissions of another kind on Windows")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_it_is_as_readable_as_any_other(mask: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(mask)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(b"all")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
