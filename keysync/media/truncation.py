"""Whether a media file is complete: its outermost boxes give its length, and libav plays a cut file without an error.

Checks mp4 and mov (ISO 14496-12 §4.2), mkv and webm (RFC 8794) and avi. Other formats do not give their length.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from ..errors import KeySyncError

MP4_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid", b"udta"}
MP4_CONTENT = {b"moov", b"moof", b"mdat"}
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def check_complete(file: BinaryIO, name: str) -> None:
    """Raises `KeySyncError` for a file that ends before its content does; `name` is for the message."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
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
    if end > size:
        raise KeySyncError(f"{name} is cut off: it has {size} of {end} bytes; copy or export it again")


def _mp4_end(file: BinaryIO) -> int:
    """Where the content ends, from the sizes of the boxes."""
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
    """Where the segment ends; 0 if its size is unknown."""
    file.read(4)
    file.seek(_ebml_size(file) or 0, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A number of variable length: as many more bytes as its first one has leading zeros; all ones: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big") - (1 << (7 * (more + 1)))
    return None if value == (1 << (7 * (more + 1))) - 1 else value
