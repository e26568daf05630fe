"""Digests of files, folders and settings: 32 hexadecimal digits that depend only on the content."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CHUNK = 4 * 2**20
DIGEST = re.compile("[0-9a-f]{32}")


def of_file(path: Path) -> str:
    """The digest of a file's bytes."""
    digest = _new()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def of_path(path: Path) -> str:
    """The digest of a file, or of the names and bytes of all files in a folder."""
    if not path.is_dir():
        return of_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return of_json([[file.relative_to(path).as_posix(), of_file(file)] for file in files])


def of_bytes(content: ReadableBuffer) -> str:
    """The digest of bytes."""
    digest = _new()
    digest.update(content)
    return digest.hexdigest()


def of_json(value: Any) -> str:
    """The digest of a value as JSON, independent of the order of its keys."""
    return of_bytes(json.dumps(value, sort_keys=True).encode())


def _new() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)
