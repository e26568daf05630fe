"""The file manifest.jsonl: the digests of the videos, so that a second run does not read unchanged files.

One JSON object per line: {"path", "size", "modified" (ns), "digest", "id", "name"}. Lines are appended; the last one
for a path counts, and an incomplete last line is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError
from keysync.whole import whole_file

from .. import digest
from .videos import Source, Video

NAME = "manifest.jsonl"


class Manifest:
    """The manifest of a data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._rows: dict[str, dict[str, Any]] = {}
        whole = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in whole.splitlines(keepends=True):
            if line.endswith("\n"):
                row = json.loads(line)
                self._rows[row["path"]] = row
        if whole and not whole.endswith("\n"):
            self._replace(self._rows.values())

    def identify(self, source: Source) -> Video:
        """The video in a file; reads the file if it is new or changed. Raises `OSError` if that fails."""
        status = source.path.stat()
        state: dict[str, Any] = {
            "path": str(source.path.absolute()),
            "size": status.st_size,
            "modified": status.st_mtime_ns,
        }
        known = self._rows.get(state["path"])
        if known and all(known[name] == value for name, value in state.items()):
            return Video.of(source, known["digest"])
        video = Video.of(source, digest.of_file(source.path))
        self._add({**state, "digest": video.digest, "id": video.id, "name": video.name})
        return video

    def _add(self, row: dict[str, Any]) -> None:
        self._rows[row["path"]] = row
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            raise self._cannot_write(error) from error

    def _replace(self, rows: Iterable[dict[str, Any]]) -> None:
        try:
            with whole_file(self.path) as temporary:
                temporary.write_text("".join(map(_line, rows)), encoding="utf-8")
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> KeySyncError:
        return KeySyncError(f"cannot write {self.path} ({error.strerror}): free some disk space or choose another -o")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
