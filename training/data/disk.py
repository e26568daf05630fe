"""Writing to a disk that may be full: the error is one line, and no partial file remains."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.whole import whole_file


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns an `OSError` inside, while `path` is written, into `KeySyncError`."""
    try:
        yield
    except OSError as error:
        advice = "free some disk space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another folder"
        raise KeySyncError(f"cannot write {path} ({error.strerror or error}): {advice}") from error


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A `whole_file`. Raises `KeySyncError` if it cannot be written."""
    with disk(path), whole_file(path) as temporary:
        yield temporary
