"""The boxes, chunks and elements that media files are made of, read without libav and without holding their content.

ISO base media (mp4, mov; ISO 14496-12 §4.2), RIFF (avi, webp) and EBML (mkv, webm; RFC 8794). All sizes in a file are
claims: nothing is read beyond the part that a caller asks for, and no walk takes more than `MOST_PARTS` steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# More parts than any real file has on one level: an hour of avi has half a million.
MOST_PARTS = 5_000_000
# The largest table of an index that is read: 30 hours of frames at 60 a second need a tenth.
LARGEST_TABLE = 256 * 2**20

# Beyond any file; what sums of such positions and sizes give can still be sought.
FARTHEST = 2**61

EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


@dataclass(frozen=True)
class Part:
    """A part of a file: its kind, where its content starts and where it ends according to its header."""

    kind: bytes
    start: int
    end: int

    def read(self, file: BinaryIO, count: int | None = None) -> bytes:
        """Its content, or the first `count` bytes of it; less where the file is shorter."""
        file.seek(min(self.start, FARTHEST))
        wanted = self.end - self.start if count is None else min(count, self.end - self.start)
        return file.read(max(0, min(wanted, LARGEST_TABLE)))


def file_size(file: BinaryIO) -> int:
    """The size in bytes."""
    return file.seek(0, os.SEEK_END)


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[Part]:
    """Yields the ISO boxes between two positions; the last may end beyond. A size of 0 reaches the end."""
    position = start
    for _ in range(MOST_PARTS):
        if position + 8 > min(end, FARTHEST):
            return
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if size == 0:
            size = end - position
        if size < header:
            return
        yield Part(head[4:], position + header, position + size)
        position += size


def find_box(file: BinaryIO, part: Part, *path: bytes) -> Part | None:
    """The first box of a path of kinds inside a part."""
    for kind in path:
        found = next((box for box in boxes(file, part.start, part.end) if box.kind == kind), None)
        if found is None:
            return None
        part = found
    return part


def chunks(file: BinaryIO, start: int, end: int) -> Iterator[Part]:
    """Yields the RIFF chunks between two positions; the last may end beyond."""
    position = start
    for _ in range(MOST_PARTS):
        if position + 8 > min(end, FARTHEST):
            return
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        yield Part(head[:4], position + 8, position + 8 + size)
        position += 8 + size + size % 2


def elements(file: BinaryIO, start: int, end: int) -> Iterator[Part]:
    """Yields the EBML elements between two positions, up to the first of unknown size; the last may end beyond."""
    position = start
    for _ in range(MOST_PARTS):
        if position >= min(end, FARTHEST):
            return
        file.seek(position)
        first = file.read(1)
        if not first or not first[0] or first[0] < 0x10:
            return
        kind = first + file.read(8 - first[0].bit_length())
        size = ebml_size(file)
        if size is None:
            return
        content = file.tell()
        yield Part(kind, content, content + size)
        position = content + size


def ebml_size(file: BinaryIO) -> int | None:
    """A number of variable length: as many more bytes as its first one has leading zeros; all ones: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    if len(rest) < more:
        return None
    value = int.from_bytes(first + rest, "big") - (1 << (7 * (more + 1)))
    return None if value == (1 << (7 * (more + 1))) - 1 else value


def segment(file: BinaryIO) -> Part | None:
    """The segment of a Matroska file, up to the file's end if its size is unknown; None if there is none."""
    size = file_size(file)
    file.seek(4)
    header = ebml_size(file)
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return None
    length = ebml_size(file)
    start = file.tell()
    return Part(SEGMENT, start, size if length is None else start + length)
