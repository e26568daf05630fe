"""Whether a media file is all there: its outermost boxes say so, and libav plays a cut one without a word.

Known for mp4 and mov (ISO 14496-12 §4.2), mkv and webm (RFC 8794) and avi. Other formats do not say how long they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ..errors import KeySyncError

MP4_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid", b"udta"}
MP4_CONTENT = {b"moov", b"moof", b"mdat"}
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def check_complete(path: Path) -> None:
    """Raises `KeySyncError` for a file that ends before its content does."""
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in MP4_BOXES:
            end = _mp4_end(file)
        elif head[:4] == EBML:
            end = _matroska_end(file)
        elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
            end = 8 + int.from_bytes(head[4:8], "little")
        else:
            return
        size = os.fstat(file.fileno()).st_size
    if end > size:
        raise KeySyncError(f"{path} is cut off: {size} bytes came, {end} were to come; copy or export it again")


def _mp4_end(file: BinaryIO) -> int:
    """Where the content ends, by the sizes of the boxes."""
    position = end = 0
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8:  # 0: to the end of the file
            break
        position += size
        if kind in MP4_CONTENT:
            end = position
        file.seek(position)
    return end


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment ends; 0 where it does not say."""
    file.read(4)
    file.seek(_ebml_size(file) or 0, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A number of variable length: as many bytes more as its first one has leading zeros; all ones: not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big") - (1 << (7 * (more + 1)))
    return None if value == (1 << (7 * (more + 1))) - 1 else value
