"""Free memory is held for later or returned to the system, as is asked."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from keysync import allocator

# Faults of pages while 48 MB in eight tensors are taken and left 20 times, after two times.
FAULTS = """
import resource, torch
from keysync.allocator import hold_memory
if {held}:
    assert hold_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    return [torch.ones(6 * 2**18) for _ in range(8)]
work()
work()
before = faults()
for _ in range(20):
    work()
print(faults() - before)
"""


# Resident megabytes before and after the free half of 64 MB in small blocks is returned.
RETURNED = """
from pathlib import Path
from keysync.allocator import return_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
blocks = [bytearray(60 * 2**10) for _ in range(1100)]
for start in range(0, 1100, 20):
    blocks[start : start + 10] = [None] * 10
before = resident()
assert return_memory()
print(before - resident())
"""


def faults(*, held: bool) -> int:
    code = FAULTS.format(held=held)
    own = {name: value for name, value in os.environ.items() if name not in allocator.CHOSEN}
    ended = subprocess.run([sys.executable, "-c", code], env=own, check=True, capture_output=True, text=True)
    return int(ended.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's parameters")
def test_released_memory_is_taken_again() -> None:
    assert faults(held=True) < 48 * 2**20 / 4096 / 2  # half of the pages once, of twenty times that they are used


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's free blocks")
def test_free_memory_between_blocks_is_returned() -> None:
    ended = subprocess.run([sys.executable, "-c", RETURNED], check=True, capture_output=True, text=True)
    assert float(ended.stdout) > 20  # of 32 MB that are free


@pytest.mark.parametrize("name", allocator.CHOSEN)
def test_the_users_choice_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert not allocator.hold_memory()


def test_other_systems_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in allocator.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocator.hold_memory()
    assert not allocator.return_memory()
