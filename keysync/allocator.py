"""How a process holds free memory: the command line keeps what one tensor leaves for the next.

By default glibc returns large blocks to the system at once, and asks for them again with the next tensor: the system
clears every page of it anew, which costs a small network a sixth of its time, and a film's frames up to half of theirs.
It gives each thread an arena of its own, whose free memory no other thread takes: here there are hardly more than
processors. A program that hosts the library chooses itself, and may give back what others left in its process.
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
    if not _is_glibc() or any(name in os.environ for name in CHOSEN):
        return False
    glibc = ctypes.CDLL(None)
    return all(glibc.mallopt(number, value) for number, value in PARAMETERS.values())


def return_memory() -> bool:
    """Returns to the system what is free in this process now, whole pages of all arenas; whether there was any.

    glibc keeps free blocks between others: after the sound of a long film is read, as much as half of the sound. It is
    glibc's to do: elsewhere nothing changes.
    """
    return _is_glibc() and bool(ctypes.CDLL(None).malloc_trim(0))


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
