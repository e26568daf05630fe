"""Tags inside a stream of MPEG audio: files that were joined end to end have one where the next file begins.

Decoders take such a tag, above all a picture in it, for damaged sound. ID3v1 (128 bytes, `TAG`), ID3v2 (§3 of its
specification) and APEv2 are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from .container import MediaFile, libav_errors

# A file that is larger is not searched: all of it would be held in memory. 256 MB are four hours at 128 kbit/s.
LARGEST = 256 * 2**20
ID3V1, ID3V1_SIZE = b"TAG", 128
ID3V2, APE = b"ID3", b"APETAGEX"
ID3V2_HEADER, APE_HEADER = 10, 32
# Zeros that may follow a tag.
PADDING = 4096


def without_inner_tags(file: MediaFile) -> MediaFile:
    """The file; one of MPEG audio (mp3, ADTS) with tags inside is held in memory without them."""
    with libav_errors(f"cannot open {file} ({{}}): check the path"), file.open() as content:
        head = content.read(3)
        if not (head == ID3V2 or _is_sync(head)):
            return file
        whole = head + content.read(LARGEST)
    if len(whole) > LARGEST:
        return file
    tags = list(_inner_tags(whole))
    if not tags:
        return file
    bounds = [0, *(edge for tag in tags for edge in tag), len(whole)]
    return MediaFile(b"".join(whole[first:last] for first, last in [*pairwise(bounds)][::2]), file.name)


def is_tag(packet: bytes) -> bool:
    """Whether a packet that is no sound is a tag, as at the end of most mp3 files."""
    return packet.startswith((ID3V1, ID3V2, APE))


def _inner_tags(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields the first and last byte (exclusive) of each tag between two frames."""
    position = _id3v2_end(content, 0)
    while position < len(content):
        found = [content.find(mark, position) for mark in (ID3V1, ID3V2, APE)]
        begin = min((place for place in found if place >= 0), default=-1)
        if begin < 0:
            return
        end = begin
        while (after := _tag_end(content, end)) > end:
            end = after + len(content[after : after + PADDING]) - len(content[after : after + PADDING].lstrip(b"\0"))
        # Sound goes on behind it: three letters in the midst of a frame are no tag.
        if end > begin and _is_sync(content[end : end + 2]):
            yield begin, end
        position = max(end, begin + 1)


def _tag_end(content: bytes, begin: int) -> int:
    """Where the tag ends that begins here; `begin` where none does."""
    if content.startswith(ID3V2, begin):
        return _id3v2_end(content, begin)
    if content.startswith(APE, begin):
        items = int.from_bytes(content[begin + 12 : begin + 16], "little")
        is_header = content[begin + 23 : begin + 24] >= b"\xa0"  # bits 31 and 29 of the flags
        return min(len(content), begin + APE_HEADER + (items if is_header else 0))
    return begin + ID3V1_SIZE if content.startswith(ID3V1, begin) else begin


def _id3v2_end(content: bytes, begin: int) -> int:
    header = content[begin : begin + ID3V2_HEADER]
    if len(header) < ID3V2_HEADER or header[:3] != ID3V2 or header[3] > 4 or max(header[6:]) > 127:
        return begin
    size = 0
    for byte in header[6:]:
        size = size << 7 | byte
    footer = ID3V2_HEADER if header[5] & 0x10 else 0
    return min(len(content), begin + ID3V2_HEADER + size + footer)


def _is_sync(head: bytes) -> bool:
    """Whether a frame of MPEG audio begins so: eleven bits that are set."""
    return len(head) >= 2 and head[0] == 0xFF and head[1] >= 0xE0
