"""A file that appears under its name when all of it is written, and not at all where the disk is full."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from keysync.errors import KeySyncError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, renamed to `path` at the end. At an exception nothing is left, and an older file stays.

    Raises `KeySyncError` where the disk cannot hold it.
    """
    temporary = path.with_name(f".keysync-{secrets.token_hex(4)}-{path.name}")
    try:
        with disk(path):
            with temporary.open("wb") as file:
                yield file
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns what the disk raises inside, while `path` is written, into `KeySyncError`."""
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another place"
        raise KeySyncError(f"{path} cannot be written ({error.strerror or error}): {advice}") from error
