"""Files that libav opens but cannot play, and why: encrypted ones, and animated WebP."""

from __future__ import annotations

from typing import BinaryIO

from ..errors import KeySyncError
from .boxes import EBML, Part, boxes, chunks, elements, file_size, find_box, segment

# Kinds of entries that stand for encrypted tracks (ISO 14496-12 §8.12), and those that streaming services use.
ENCRYPTED = {b"encv", b"enca", b"drmi", b"drms"}
# Elements of Matroska: tracks, a track, its encodings, one of them, its encryption.
TRACKS, TRACK = bytes.fromhex("1654ae6b"), b"\xae"
ENCRYPTION = bytes.fromhex("6d80"), bytes.fromhex("6240"), bytes.fromhex("5035")
# Of the flags of a WebP's first chunk.
ANIMATED = 0x02


def check_readable(file: BinaryIO, name: str) -> None:
    """Raises `KeySyncError` for a file that PyAV is known not to decode; `name` is for the message."""
    size = file_size(file)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        first = next(chunks(file, 12, size), None)
        flags = first.read(file, 1) if first is not None and first.kind == b"VP8X" else b""
        if flags and flags[0] & ANIMATED:
            raise KeySyncError(f"{name} is an animated WebP, which PyAV cannot decode: convert it to mp4 or gif")
    elif head[:4] == EBML:
        whole = segment(file)
        if whole is not None and _matroska_is_encrypted(file, whole, size):
            raise _encrypted(name)
    elif head[4:8] in (b"ftyp", b"moov", b"styp", b"mdat", b"free", b"skip", b"wide") and _mp4_is_encrypted(file, size):
        raise _encrypted(name)


def _encrypted(name: str) -> KeySyncError:
    return KeySyncError(f"{name} is encrypted (DRM): use a copy without protection")


def _mp4_is_encrypted(file: BinaryIO, size: int) -> bool:
    moov = next((box for box in boxes(file, 0, size) if box.kind == b"moov"), None)
    for trak in boxes(file, moov.start, moov.end) if moov else ():
        entries = find_box(file, trak, b"mdia", b"minf", b"stbl", b"stsd") if trak.kind == b"trak" else None
        # After version and count.
        if entries and any(entry.kind in ENCRYPTED for entry in boxes(file, entries.start + 8, entries.end)):
            return True
    return False


def _matroska_is_encrypted(file: BinaryIO, whole: Part, size: int) -> bool:
    for element in elements(file, whole.start, min(whole.end, size)):
        if element.kind == TRACKS:
            return any(
                _holds(file, track, *ENCRYPTION)
                for track in elements(file, element.start, element.end)
                if track.kind == TRACK
            )
    return False


def _holds(file: BinaryIO, part: Part, *path: bytes) -> bool:
    """Whether there is such a path of elements inside a part."""
    if not path:
        return True
    inside = list(elements(file, part.start, part.end))
    return any(_holds(file, each, *path[1:]) for each in inside if each.kind == path[0])
