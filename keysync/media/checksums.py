"""The checksums of FFV1's slices (RFC 9043 §4.9), which libav compares but whose failure it only logs."""

from __future__ import annotations

import zlib

# A slice ends with its size (3 bytes), an error status (1) and a CRC-32 over all of it, which makes its own sum 0.
FOOTER = 8
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def is_intact(packet: bytes) -> bool:
    """Whether a packet is a row of slices whose checksums are right. One without checksums is not."""
    end = len(packet)
    while end > FOOTER:
        size = int.from_bytes(packet[end - FOOTER : end - FOOTER + 3], "big") + FOOTER
        if size > end or _remainder(packet[end - size : end]) != 0:
            return False
        end -= size
    return end == 0 and len(packet) > FOOTER


def _remainder(content: bytes) -> int:
    """The CRC-32 that starts with 0 and takes the highest bit first; zlib takes the lowest, and starts with ones."""
    return zlib.crc32(content.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
