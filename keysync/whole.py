"""Atomic writes: a file appears under its name complete, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a new, empty file next to `path`; it is renamed to `path` at the end of the block.

    On an exception it is removed and an existing file at `path` is kept. Its name is random, starts with `.keysync-`
    and ends in `.part`, so it cannot be mistaken for a finished file; it has the default permissions. Raises `OSError`
    if `path` cannot be written.
    """
    temporary = path.with_name(f".keysync-{secrets.token_hex(8)}.part")
    temporary.touch(exist_ok=False)  # exclusive: never writes to an existing file or through a link
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
