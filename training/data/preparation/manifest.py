"""The file manifest.jsonl: the digests of the videos, so that a second run does not read unchanged files.

One JSON object per line: {"path", "size", "modified" (ns), "digest", "id", "name"}. Lines are appended; the last one
for a path counts. An incomplete last line is ignored, and so, with a warning, are damaged lines: their videos are read
again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError
from keysync.strict_json import strict_json
from keysync.whole import whole_file

from .videos import Source, Video

NAME = "manifest.jsonl"
FIELDS = {"path": str, "size": int, "modified": int, "digest": str, "id": str, "name": str}

logger = logging.getLogger(__name__)


class Manifest:
    """The manifest of a data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        whole = self.path.read_bytes() if self.path.exists() else b""
        *lines, rest = whole.split(b"\n")
        rows = [_row(line) for line in lines]
        self._rows = {row["path"]: row for row in rows if row is not None}
        damaged = rows.count(None)
        if damaged:
            logger.warning("%s: %d of %d lines are damaged: their videos are read again", self.path, damaged, len(rows))
        if rest or damaged:
            self._replace(self._rows.values())

    def known(self, source: Source) -> Video | None:
        """The video in a file, None if the file is new or changed. Raises `OSError` if it cannot be read."""
        state = _state(source)
        row = self._rows.get(state["path"])
        if row and all(row[name] == value for name, value in state.items()):
            return Video.of(source, row["digest"])
        return None

    def add(self, source: Source, digest: str) -> Video:
        """The video in a file with this digest, from now on known. Raises `OSError` if it cannot be read."""
        video = Video.of(source, digest)
        self._add({**_state(source), "digest": video.digest, "id": video.id, "name": video.name})
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


def _state(source: Source) -> dict[str, Any]:
    status = source.path.stat()
    return {"path": str(source.path.absolute()), "size": status.st_size, "modified": status.st_mtime_ns}


def _row(line: bytes) -> dict[str, Any] | None:
    """What a line says of a video, or None if it is damaged."""
    try:
        row = strict_json(line)
    except ValueError:
        return None
    whole = isinstance(row, dict) and all(type(row.get(name)) is kind for name, kind in FIELDS.items())
    return row if whole and re.fullmatch("[0-9a-f]{32}", row["digest"]) else None


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
