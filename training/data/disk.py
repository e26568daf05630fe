"""Writing to a disk that may be full: it is said in one line, and no half file is left."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.whole import whole_file


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns what the disk raises inside, while `path` is written, into `KeySyncError`."""
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another place"
        raise KeySyncError(f"{path} cannot be written ({error.strerror or error}): {advice}") from error


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A `whole_file`. Raises `KeySyncError` where the disk cannot hold it."""
    with disk(path), whole_file(path) as temporary:
        yield temporary
