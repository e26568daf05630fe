"""How the command line's process holds memory: what one tensor leaves is kept for the next.

By default glibc returns large blocks to the system at once, and asks for them again with the next tensor: the system
clears every page of it anew, which costs a small network a sixth of its time. The most memory that is held at once
stays the same. A program that hosts the library chooses itself.
"""

from __future__ import annotations

import ctypes
import os
import platform

# The user's own choice, which is kept.
CHOSEN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
# Numbers of glibc's parameters, and their values: blocks from which memory is asked for one by one (the most that glibc
# takes), and how much is held for later. In bytes.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
LARGEST, HELD = 32 * 2**20, 256 * 2**20


def hold_memory() -> bool:
    """Holds up to `HELD` bytes that are free, unless the user chose otherwise; whether it does so.

    It is glibc's to do: elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in CHOSEN):
        return False
    glibc = ctypes.CDLL(None)
    return bool(glibc.mallopt(MMAP_THRESHOLD, LARGEST)) and bool(glibc.mallopt(TRIM_THRESHOLD, HELD))
