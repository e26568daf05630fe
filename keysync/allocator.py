"""How the command line's process holds memory: what one tensor leaves is kept for the next.

By default glibc returns large blocks to the system at once, and asks for them again with the next tensor: the system
clears every page of it anew, which costs a small network a sixth of its time, and a film's frames up to half of theirs.
It gives each thread an arena of its own, whose free memory no other thread takes: here there are hardly more than
processors. A program that hosts the library chooses itself.
"""

from __future__ import annotations

import ctypes
import os
import platform

# The user's own choice, which is kept.
CHOSEN = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
# glibc's parameters by number, and their values: blocks from which memory is asked for one by one (the most that glibc
# takes), and how much is held for later, in bytes; arenas: threads that compute at once would wait for a single one.
PARAMETERS = {
    "M_MMAP_THRESHOLD": (-3, 32 * 2**20),
    "M_TRIM_THRESHOLD": (-1, 256 * 2**20),
    "M_ARENA_MAX": (-8, (os.cpu_count() or 1) + 1),
}


def hold_memory() -> bool:
    """Holds what is free for all threads, unless the user chose otherwise; whether it does so.

    It is glibc's to do: elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in CHOSEN):
        return False
    glibc = ctypes.CDLL(None)
    return all(glibc.mallopt(number, value) for number, value in PARAMETERS.values())
