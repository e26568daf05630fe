"""Whether a media file is complete: its outermost boxes give its length, and its index the place of every frame.

libav plays a cut file without an error. Checks mp4 and mov (ISO 14496-12), mkv and webm (RFC 9559) and avi, and
the sound files of `sound_extent`. Other formats give neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import KeySyncError
from .boxes import EBML, FARTHEST, MOST_PARTS, Part, boxes, chunks, elements, file_size, find_box, segment
from .sound_extent import Extent, sound_extent

# Seconds of sound that may be missing: programs miscount the last bytes.
NEGLIGIBLE = 0.01
MP4_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx", b"uuid", b"udta"}
MP4_CONTENT = {b"moov", b"moof", b"mdat"}
# Elements of Matroska.
CLUSTER, CUES, SEEK_HEAD = bytes.fromhex("1f43b675"), bytes.fromhex("1c53bb6b"), bytes.fromhex("114d9b74")
SEEK, SEEK_POSITION = bytes.fromhex("4dbb"), bytes.fromhex("53ac")
CUE_POINT, CUE_TRACK_POSITIONS, CUE_CLUSTER_POSITION = b"\xbb", b"\xb7", b"\xf1"


@dataclass(frozen=True)
class Index:
    """How many parts of a kind an index lists, and how many of them the file holds."""

    what: str
    listed: int
    there: int


def check_complete(file: BinaryIO, name: str) -> None:
    """Raises `KeySyncError` for a file that ends before its content does, or whose index lists frames that it lacks.

    `name` is for the message.
    """
    size = file_size(file)
    file.seek(0)
    head = file.read(40)
    if head[4:8] in MP4_BOXES:
        end, index = _mp4_end(file, size), _mp4_index(file, size)
    elif head[:4] == EBML:
        part = segment(file)
        end, index = (0, None) if part is None else (part.end, _matroska_index(file, part, size))
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        end, index = 8 + int.from_bytes(head[4:8], "little"), _avi_index(file, size)
    else:
        _check_sound(sound_extent(file, head, size), size, name)
        return
    if end > size:
        raise KeySyncError(f"{name} is cut off: it has {size} of {end} bytes; copy or export it again")
    if index is not None and index.there < index.listed:
        raise KeySyncError(
            f"{name} is cut off: its index lists {index.listed} {index.what}, the file has {index.there}; "
            "copy or export it again"
        )


def _check_sound(extent: Extent, size: int, name: str) -> None:
    if extent.end <= size:
        return
    there = f"{size} of {extent.end} bytes"
    if extent.seconds:
        missing = extent.seconds * (extent.end - size) / (extent.end - extent.begin)
        if missing < NEGLIGIBLE:
            return
        there = f"{max(0.0, extent.seconds - missing):.2f} of {extent.seconds:.2f} s"
    raise KeySyncError(f"{name} is cut off: it has {there}; copy or export it again")


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Where the content ends, from the sizes of the boxes and of the fragments that an index of segments lists."""
    end = 0
    for box in boxes(file, 0, size):
        if box.kind in MP4_CONTENT:
            end = max(end, box.end)
        elif box.kind == b"sidx":
            end = max(end, _segments_end(file, box))
    return end


def _segments_end(file: BinaryIO, box: Part) -> int:
    """Where the last segment ends that a `sidx` lists (ISO 14496-12 §8.16.3)."""
    content = box.read(file)
    wide = content[:1] > b"\0"
    fixed = 12 + (16 if wide else 8)  # version, id, time scale; then earliest time and first offset
    first = int.from_bytes(content[fixed - (8 if wide else 4) : fixed], "big")
    references = _table(content, fixed + 4, ">u4", 3, int.from_bytes(content[fixed + 2 : fixed + 4], "big"))
    return box.end + first + int((references[:, 0] & 0x7FFFFFFF).sum())


def _mp4_index(file: BinaryIO, size: int) -> Index | None:
    """The first track whose index lists more than there is, else any."""
    moov = next((box for box in boxes(file, 0, size) if box.kind == b"moov"), None)
    index = None
    for trak in boxes(file, moov.start, moov.end) if moov else ():
        media = find_box(file, trak, b"mdia") if trak.kind == b"trak" else None
        handler = find_box(file, media, b"hdlr") if media else None
        table = find_box(file, media, b"minf", b"stbl") if media else None
        what = {b"vide": "frames", b"soun": "samples of sound"}.get(handler.read(file, 12)[8:] if handler else b"")
        if table is None or what is None:
            continue
        index = _mp4_samples(file, size, table, what)
        if index.there < index.listed:
            break
    return index


def _mp4_samples(file: BinaryIO, size: int, table: Part, what: str) -> Index:
    """What a sample table lists (ISO 14496-12 §8.6.1.2, §8.7), and how much of it lies in the file."""
    parts = {box.kind: box.read(file) for box in boxes(file, table.start, table.end)}
    times = _table(parts.get(b"stts", b""), 8, ">u4", 2)
    timed = int(times[:, 0].sum())
    sizes = parts.get(b"stsz", b"").ljust(12, b"\0")
    same, count = (int.from_bytes(sizes[at : at + 4], "big") for at in (4, 8))
    wide = b"co64" in parts
    offsets = _table(parts.get(b"co64" if wide else b"stco", b""), 8, ">u8" if wide else ">u4", 1)[:, 0]
    runs = _table(parts.get(b"stsc", b""), 8, ">u4", 3)
    if b"stsz" not in parts:  # compact sizes, or none
        return Index(what, timed, timed)
    # How many samples each chunk holds: runs of chunks, each from the one that it names on.
    starts = np.maximum.accumulate(np.clip(runs[:, 0] - 1, 0, len(offsets)))
    of_chunk = np.repeat(runs[:, 1], np.clip(np.diff(starts, append=len(offsets)), 0, None))[: len(offsets)]
    of_chunk = np.minimum(of_chunk, count)
    if same:
        inside = np.clip((size - offsets[: len(of_chunk)]) // same, 0, of_chunk)
        there = min(count, int(inside.sum()))
    else:
        each = _table(sizes, 12, ">u4", 1)[:count, 0]
        first = np.concatenate(([0], np.cumsum(of_chunk)))  # of each chunk
        chunk = np.searchsorted(first, np.arange(len(each)), side="right") - 1
        placed = chunk < len(of_chunk)
        each, chunk = each[placed], chunk[placed]
        before = np.concatenate(([0], np.cumsum(each)))
        ends = offsets[chunk] + before[1:] - before[first[chunk]]
        there = int((ends <= size).sum())
    # Tracks of fragments have empty tables. Time may be given for fewer samples of sound than are stored.
    listed = max(count, timed) if what == "frames" else count
    return Index(what, listed, there)


def _table(content: bytes, start: int, kind: str, columns: int, rows: int | None = None) -> NDArray[np.int64]:
    """A table of whole numbers (rows, columns) in the content of a box; the rows that a box promises and lacks are left
    out."""
    width = np.dtype(kind).itemsize * columns
    if rows is None:
        rows = int.from_bytes(content[start - 4 : start], "big")
    rows = max(0, min(rows, (len(content) - start) // width))
    flat = np.frombuffer(content, kind, rows * columns, min(start, len(content))) if rows else np.zeros(0, kind)
    return np.minimum(flat.astype(np.uint64), FARTHEST).reshape(rows, columns).astype(np.int64)


def _avi_index(file: BinaryIO, size: int) -> Index | None:
    """The frames of the first video stream: as many as its header or the index lists, and those that are stored."""
    video, promised = _avi_video(file, size)
    if video is None:
        return None
    listed = stored = 0
    pieces = 0
    for riff in chunks(file, 0, size):
        for part in chunks(file, riff.start + 4, min(riff.end, size)) if riff.kind == b"RIFF" else ():
            if part.kind == b"idx1":
                entries = np.frombuffer(content := part.read(file), "S4", len(content) // 16 * 4).reshape(-1, 4)
                listed += int(np.isin(entries[:, 0], video).sum())
            elif part.kind == b"LIST":
                for piece in _avi_pieces(file, part, size):
                    pieces += 1
                    if pieces > MOST_PARTS:
                        return None
                    stored += piece.kind in video and piece.end <= size
    return Index("frames", max(listed, promised), stored)


def _avi_pieces(file: BinaryIO, part: Part, size: int, *, grouped: bool = False) -> Iterator[Part]:
    """Yields the stored pieces of streams in a list of them; recordings may group them once more."""
    file.seek(part.start)
    if file.read(4) != (b"rec " if grouped else b"movi"):
        return
    for piece in chunks(file, part.start + 4, min(part.end, size)):
        if piece.kind != b"LIST":
            yield piece
        elif not grouped:
            yield from _avi_pieces(file, piece, size, grouped=True)


def _avi_video(file: BinaryIO, size: int) -> tuple[list[bytes] | None, int]:
    """What the chunks of the first video stream are called, and how many its header promises."""
    head = next((part for part in chunks(file, 12, size) if part.kind == b"LIST"), None)
    streams = [part for part in chunks(file, head.start + 4, head.end) if part.kind == b"LIST"] if head else []
    for number, stream in enumerate(streams):
        header = next((part for part in chunks(file, stream.start + 4, stream.end) if part.kind == b"strh"), None)
        fields = header.read(file, 48) if header else b""
        if fields[:4] == b"vids":
            names = [f"{number:02d}{kind}".encode() for kind in ("dc", "db", "pc")]
            return names, int.from_bytes(fields[32:36], "little")
    return None, 0


def _matroska_index(file: BinaryIO, part: Part, size: int) -> Index | None:
    """The places that the cues list, and those where a cluster is; or the parts that the seek head lists."""
    known, cues = [], None
    for element in elements(file, part.start, min(part.end, size)):
        if element.kind == SEEK_HEAD:
            known += _positions(file, element, SEEK, SEEK_POSITION)
        elif element.kind == CUES:
            cues = element
        elif element.kind == CLUSTER and element.end > size:
            break
    beyond = [position for position in known if part.start + position >= size]
    if beyond:
        return Index("parts", len(known), len(known) - len(beyond))
    if cues is None:
        for position in known:
            found = next(elements(file, part.start + position, size), None)
            if found is not None and found.kind == CUES:
                cues = found
    if cues is None:
        return None
    places = _positions(file, cues, CUE_POINT, CUE_TRACK_POSITIONS, CUE_CLUSTER_POSITION)
    there = 0
    for place in places:
        file.seek(part.start + min(place, size))
        there += file.read(4) == CLUSTER
    return Index("places", len(places), there)


def _positions(file: BinaryIO, part: Part, *path: bytes) -> list[int]:
    """The numbers at the ends of all paths of elements inside a part."""
    if not path:
        return [int.from_bytes(part.read(file, 8), "big")]
    inside = list(elements(file, part.start, part.end))
    return [number for each in inside if each.kind == path[0] for number in _positions(file, each, *path[1:])]
