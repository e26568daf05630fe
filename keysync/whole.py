"""Files that appear under their name once all of them is written, or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields an empty new file beside `path` to write to; it becomes `path` at the end of the block.

    At an exception it is removed, and an older file at `path` stays. Its name is random, begins with `.keysync-` and
    ends in `.part`, so that nothing takes it for a finished file; it has the permissions of any new file. Raises
    `OSError` where `path` cannot be written.
    """
    temporary = path.with_name(f".keysync-{secrets.token_hex(8)}.part")
    temporary.touch(exist_ok=False)  # exclusive: neither an existing file nor a link is ever written through
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
