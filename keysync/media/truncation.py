"""Whether a media file is complete: its outermost boxes give its length, and libav plays a cut file without an error.

Checks mp4 and mov (ISO 14496-12 §4.2), mkv and webm (RFC 8794), avi, and of sound wav, RF64 (EBU Tech 3306), Wave64,
caf, Ogg (RFC 3533) and mp3 with a Xing header. Of formats whose length libav reads, `audio` compares it with what is
there; others do not give it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import KeySyncError

MP4_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid", b"udta"}
MP4_CONTENT = {b"moov", b"moof", b"mdat"}
WAVES = {b"RIFF", b"RF64", b"BW64"}
# Ends of the identifiers of Wave64's chunks behind their four letters; those of `riff` and of all others.
WAVE64_RIFF, WAVE64 = bytes.fromhex("2e91cf11a5d628db04c10000"), bytes.fromhex("f3acd3118cd100c04f8edb8a")
# Sizes that programs write where they cannot know better, into a pipe: all ones, 0, and just below 2 GB and 4 GB.
UNKNOWN_SIZES = (range(1), range(0x7FFF_0000, 0x8000_1000), range(0xFFFF_0000, 0x1_0000_0000))
# Seconds of sound that may lack without a word: writers miscount the last bytes.
NEGLIGIBLE = 0.01
# An mp3 file's Xing header lies in the first frame behind the tag; its bytes count from that frame.
XING_WITHIN, MPEG1_SAMPLES, MPEG2_SAMPLES = 4096, 1152, 576
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits
# An Ogg page is at most this long: a header of 27 bytes, 255 lengths, 255 times 255 bytes.
OGG_PAGE, OGG_HEADER = 27 + 255 + 255 * 255, 27
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


@dataclass(frozen=True)
class Extent:
    """Where the content of a file ends, or 0 if nobody knows; for sound also its beginning and how long it lasts."""

    end: int
    begin: int = 0
    seconds: float = 0.0


def check_complete(file: BinaryIO, name: str) -> None:
    """Raises `KeySyncError` for a file that ends before its content does; `name` is for the message."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(40)
    file.seek(0)
    extent = _extent(file, head, size)
    if extent.end <= size:
        return
    there = f"{size} of {extent.end} bytes"
    if extent.seconds:
        lacking = extent.seconds * (extent.end - size) / (extent.end - extent.begin)
        if lacking < NEGLIGIBLE:
            return
        there = f"{max(0.0, extent.seconds - lacking):.2f} of {extent.seconds:.2f} s"
    raise KeySyncError(f"{name} is cut off: it has {there}; copy or export it again")


def _extent(file: BinaryIO, head: bytes, size: int) -> Extent:
    if head[4:8] in MP4_BOXES:
        return Extent(_mp4_end(file))
    if head[:4] == EBML:
        return Extent(_matroska_end(file))
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Extent(8 + int.from_bytes(head[4:8], "little"))
    if head[:4] in WAVES and head[8:12] == b"WAVE":
        return _wave_extent(file)
    if head[:16] == b"riff" + WAVE64_RIFF and head[24:] == b"wave" + WAVE64:
        return _wave64_extent(file)
    if head[:4] == b"caff":
        return _caf_extent(file)
    if head[:4] == b"OggS":
        return Extent(_ogg_end(file, size))
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        return _mp3_extent(file)
    return Extent(0)


def _wave_extent(file: BinaryIO) -> Extent:
    """From the sizes of `data`, in RF64 of `ds64`, and the bytes a second in `fmt `."""
    file.seek(12)
    long_size, rate = 0, 0
    while len(head := file.read(8)) == 8:
        kind, size, begin = head[:4], int.from_bytes(head[4:], "little"), file.tell()
        if kind == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif kind == b"fmt ":
            rate = int.from_bytes(file.read(12)[8:], "little")
        elif kind == b"data":
            if size == 0xFFFF_FFFF and long_size:
                size = long_size
            elif any(size in sizes for sizes in UNKNOWN_SIZES):
                return Extent(0)
            return Extent(begin + size, begin, size / rate if rate else 0.0)
        file.seek(begin + size + size % 2)
    return Extent(0)


def _wave64_extent(file: BinaryIO) -> Extent:
    """As `_wave_extent`; sizes contain the 24 bytes of the head, chunks begin at multiples of 8."""
    file.seek(40)
    rate = 0
    while len(head := file.read(24)) == 24:
        kind, size, begin = head[:4], int.from_bytes(head[16:], "little") - 24, file.tell()
        if size <= 0:
            break
        if kind == b"fmt ":
            rate = int.from_bytes(file.read(12)[8:], "little")
        elif kind == b"data":
            return Extent(begin + size, begin, size / rate if rate and size < 1 << 62 else 0.0)
        file.seek(begin + (size + 7) // 8 * 8)
    return Extent(0)


def _caf_extent(file: BinaryIO) -> Extent:
    """From the size of `data`: -1 is unknown; seconds where all packets have one size (PCM)."""
    file.seek(8)
    rate = 0.0
    while len(head := file.read(12)) == 12:
        kind, size, begin = head[:4], int.from_bytes(head[4:], "big", signed=True), file.tell()
        if size < 0:
            break
        if kind == b"desc":
            description = file.read(24)
            packet, frames = (int.from_bytes(description[at : at + 4], "big") for at in (16, 20))
            if packet and frames and len(description) == 24:
                rate = struct.unpack(">d", description[:8])[0] * packet / frames
        elif kind == b"data":
            return Extent(begin + size, begin, size / rate if rate > 0 else 0.0)
        file.seek(begin + size)
    return Extent(0)


def _ogg_end(file: BinaryIO, size: int) -> int:
    """Where the last page ends, by its table of lengths; one page further where that table is cut too."""
    start = max(0, size - OGG_PAGE)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return 0
    head = tail[page : page + OGG_HEADER]
    lengths = tail[page + OGG_HEADER : page + OGG_HEADER + head[26]] if len(head) == OGG_HEADER else b""
    if not lengths or len(lengths) < head[26]:
        # Junk behind the last page may hold the four letters; a page of no lengths is whole.
        return size + 1 if len(head) < OGG_HEADER or head[26] else 0
    return start + page + OGG_HEADER + len(lengths) + sum(lengths)


def _mp3_extent(file: BinaryIO) -> Extent:
    """From the frames and bytes that a Xing header counts, from its own frame on."""
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3" and len(head) == 10:
        begin = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(begin)
    frame = file.read(XING_WITHIN)
    mark = max(frame.find(b"Xing", 0, 64), frame.find(b"Info", 0, 64))
    if mark < 0 or frame[:1] != b"\xff" or frame[mark + 7] & 3 != 3:
        return Extent(0)
    frames, size = (int.from_bytes(frame[mark + at : mark + at + 4], "big") for at in (8, 12))
    version, index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if version not in MPEG_RATES or index > 2:
        return Extent(0)
    samples = MPEG1_SAMPLES if version == 3 else MPEG2_SAMPLES
    return Extent(begin + size, begin, frames * samples / MPEG_RATES[version][index])


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
