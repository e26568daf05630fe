"""Where the content of a sound file ends, by its own header, and how long it lasts.

Reads wav, RF64 (EBU Tech 3306), Wave64, caf, Ogg (RFC 3533) and mp3 with a Xing header. `audio` compares formats whose
exact length libav reads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

# No file is as large as this (2 EiB): a size beyond is damage, or says that the size is unknown.
HUGE = 1 << 61
WAVES = {b"RIFF", b"RF64", b"BW64"}
# Ends of the identifiers of Wave64's chunks behind their four letters; those of `riff` and of all others.
WAVE64_RIFF, WAVE64 = bytes.fromhex("2e91cf11a5d628db04c10000"), bytes.fromhex("f3acd3118cd100c04f8edb8a")
# Sizes that programs write where they cannot know better, into a pipe: all ones, 0, and just below 2 GB and 4 GB.
UNKNOWN_SIZES = (range(1), range(0x7FFF_0000, 0x8000_1000), range(0xFFFF_0000, 0x1_0000_0000))
# An mp3 file's Xing header lies in the first frame behind the tag; its bytes count from that frame.
XING_WITHIN, MPEG1_SAMPLES, MPEG2_SAMPLES = 4096, 1152, 576
MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits
# An Ogg page is at most this long: a header of 27 bytes, 255 lengths, 255 times 255 bytes.
OGG_PAGE, OGG_HEADER = 27 + 255 + 255 * 255, 27


@dataclass(frozen=True)
class Extent:
    """Where the content of a file ends, 0 where unknown; its beginning and length in seconds where the header tells."""

    end: int
    begin: int = 0
    seconds: float = 0.0


def sound_extent(file: BinaryIO, head: bytes, size: int) -> Extent:
    """The extent of a sound file of `size` bytes that begins with `head` (40 bytes); an end of 0 for another file."""
    file.seek(0)
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
        if size > HUGE:
            return Extent(0)
        if kind == b"fmt ":
            rate = int.from_bytes(file.read(12)[8:], "little")
        elif kind == b"data":
            return Extent(begin + size, begin, size / rate if rate else 0.0)
        file.seek(begin + (size + 7) // 8 * 8)
    return Extent(0)


def _caf_extent(file: BinaryIO) -> Extent:
    """From the size of `data`: -1 is unknown; seconds where all packets have one size (PCM)."""
    file.seek(8)
    rate = 0.0
    while len(head := file.read(12)) == 12:
        kind, size, begin = head[:4], int.from_bytes(head[4:], "big", signed=True), file.tell()
        if not 0 <= size <= HUGE:
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
