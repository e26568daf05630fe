"""What of damage a format could tell of, decided from the bytes alone and apart from the code under test.

After damage that a format can tell of, what is read is an error, the same as before, or it comes with a note of damage.
What no format tells of, and is not asked for:

- numbers of tensors in safetensors and in PyTorch's old format, which have no checksums, and names and places that
  still fit each other, such as those of two tensors of one shape;
- samples of PCM in WAV and mov, and sizes there that agree with each other; frames of MP3, which seldom have checksums;
- palettes and pixels of GIF, MJPEG and MPEG-4, and bits of H.264 that decode to other pictures. Their decoders count
  what they cannot decode, so only mp4's number of pictures is asked for, give or take `FEW_PICTURES`: a hole looks
  like a variable frame rate. GIF and MPEG-TS end with any picture; in Matroska a damaged size hides what follows it up
  to the next cluster, and in mov a damaged table the rest, like a last picture that is shown for long;
- times and names in containers, other coordinates in landmarks, other values in JSON, TOML and logs.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from typing import Any

# Seconds at the end of a sound that nobody misses.
UNHEARD = 0.01
# Bits of a number by its name in safetensors.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}


def anything(content: bytes) -> bool:
    """All bytes are protected: no damage is beyond telling."""
    return False


def archive(content: bytes) -> bool:
    """Whether a zip archive's checksums are right: its records are intact, but others than before."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            return opened.testzip() is None
    except Exception:  # a damaged archive raises anything
        return False


def safetensors(content: bytes) -> bool:
    """Whether the header is JSON whose tensors fill the data, one after the other."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = _json(content[8 : 8 + length])
        header.pop("__metadata__", None)
        end: int = 0
        for row in sorted(header.values(), key=lambda row: row["data_offsets"]):
            start, stop = row["data_offsets"]
            if start != end or 8 * (stop - start) != math.prod(row["shape"]) * BITS[row["dtype"]]:
                return False
            end = stop
        return bool(8 + length + end == len(content))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        return False


def landmarks(content: bytes) -> bool:
    """Whether the text is JSON of the form that a landmarks file has."""
    try:
        held = _json(content)
        width, height = held["size"]
        faces = [frame for frame in held["frames"] if frame is not None]
        points = [point for face in faces for point in face]
        numbers = [held["fps"], width, height, *(number for point in points for number in point)]
        return bool(
            all(len(face) == 68 for face in faces)
            and all(len(point) == 2 for point in points)
            and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False


def wave(content: bytes) -> bool:
    """Whether a WAV file holds the samples that its header promises, and the sizes in `fmt ` agree with each other."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return False
    at, speed = 12, 0
    while at + 8 <= len(content):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8
        if kind == b"fmt ":
            _, channels, rate, speed, _, bits = struct.unpack("<HHIIHH", content[at : at + 16].ljust(16, b"\0"))
            if 8 * speed != rate * channels * bits:
                return False
        elif kind == b"data":
            return at + size <= len(content) + speed * UNHEARD
        at += size + size % 2
    return False


def _json(content: bytes) -> dict[str, Any]:
    """An object in which no key occurs twice; raises `ValueError` for other text."""

    def pairs(rows: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(rows)) < len(rows):
            raise ValueError("a key twice")
        return dict(rows)

    held = json.loads(content, object_pairs_hook=pairs)
    if not isinstance(held, dict):
        raise ValueError("no object")
    return held
