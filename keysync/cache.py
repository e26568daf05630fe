"""What one dub found out about a clip, kept in a folder for the next dub of the same clip.

An entry is a safetensors file of arrays and JSON; its name is the digest of all that it follows from, the code that
made it included. An entry that cannot be read is dropped and made anew. The folder holds no more than a limit: what was
not used for the longest time goes first.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from . import __version__
from .strict_json import strict_json
from .whole import whole_file

# Bytes of all entries.
LIMIT = 2**30
# Of an entry's arrays and facts; entries of another form are unknown.
FORM = "1"
MOST_CHARACTERS = 2**24

Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """What is kept: arrays by name, and facts that JSON can hold."""

    arrays: Arrays = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def key_of(kind: str, rooms: Sequence[str], *causes: Any) -> str:
    """The name of an entry of this kind that follows from these causes, which JSON can hold, this version, and the code
    in these rooms of the package."""
    told = json.dumps([FORM, __version__, *map(code_digest, rooms), *causes], sort_keys=True, default=str)
    return f"{kind}-{blake2b(told.encode(), digest_size=16).hexdigest()}"


@cache
def code_digest(room: str) -> str:
    """The digest of the sources in a folder of the package."""
    folder, digest = Path(__file__).parent / room, blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Cache:
    """Entries in a folder, which is made where it is missing. Nothing here fails a job: what cannot be kept is not."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit

    def load(self, key: str) -> Entry | None:
        """The entry of that name; None where there is none, or a damaged one, which is removed."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            entry = _read(path)
            os.utime(path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            self.drop(key, error)
            return None
        return entry

    def drop(self, key: str, error: Exception) -> None:
        """Removes a damaged entry."""
        log.warning("%s in the cache is damaged (%s): it is made anew", key, str(error).split("\n")[0])
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def store(self, key: str, entry: Entry) -> None:
        """Keeps an entry, unless it is larger than the limit or cannot be written."""
        arrays = {name: np.ascontiguousarray(array) for name, array in entry.arrays.items()}
        facts = json.dumps(entry.facts)
        if sum(array.nbytes for array in arrays.values()) + len(facts) > self.limit:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path(key)) as temporary:
                save_file(arrays, temporary, {"facts": facts, "digest": digest_of(arrays, facts)})
            self._bound()
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be kept in the cache %s: %s", key, self.folder, error)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _bound(self) -> None:
        """Removes what was not used for the longest time, until the rest is within the limit."""
        found = []
        for path in self.folder.glob("*.safetensors"):
            with suppress(OSError):  # another process has removed it
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        held = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if held <= self.limit:
                return
            path.unlink(missing_ok=True)
            held -= size


def _read(path: Path) -> Entry:
    with safe_open(path, framework="numpy") as file:
        told = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    if told["digest"] != digest_of(arrays, told["facts"]):
        raise ValueError("its numbers are not those that were written")
    facts = strict_json(told["facts"], most=MOST_CHARACTERS)
    if not isinstance(facts, dict):
        raise TypeError("its facts are no object")
    return Entry(arrays, facts)


def digest_of(arrays: Arrays, facts: str = "") -> str:
    """The digest of arrays with their names, and of facts beside them."""
    digest = blake2b(facts.encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()
