"""How many threads the command line computes with, by what the machine gives: processors, quota, and other programs.

Imported before torch: OpenMP reads how it waits when torch loads it. A program that hosts the library chooses itself.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

# The user's own choice, which is kept.
CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# How OpenMP waits, by library: GNU's, and LLVM's and Intel's. A thread that spins while it waits for one that shares
# its core with another program takes that core from it.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
# Seconds after which the use of the processors is known; the kernel counts hundredths.
ENOUGH = 0.5

log = logging.getLogger(__name__)


def wait_passively() -> None:
    """OpenMP's threads sleep while they wait, unless the user chose how they wait."""
    if not {*PASSIVE, "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ.update(PASSIVE)


def threads(most: int) -> int:
    """How many threads to compute with, `most` at most: as many as there are processors, or as others leave idle.

    All threads wait for the slowest, which gets half of a processor that it shares with another program. So busy
    processors are left alone where most are idle, and shared where few are. Where the user chose a number, it is
    `most`.
    """
    if any(name in os.environ for name in CHOSEN):
        return most
    usable, others = processors(), _BEGINNING.used_by_others()
    count = max(1, min(most, round(usable)))
    idle = min(count, math.floor(usable - others))
    if idle > count * max(0.5, 1 - others):
        count = idle
    log.info("%d threads: %.3g processors, of which others use %.2g", count, usable, others)
    return count


def processors() -> float:
    """The processors that this process may use, a part of one counted as such: by its affinity and its quota."""
    quota = _quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return min([float(len(_affinity()))] + ([] if quota is None else [quota]))


@dataclass(frozen=True)
class Use:
    """Seconds until a moment: of a clock, that the processors were busy for, and those of this process."""

    clock: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> Use:
        times = os.times()
        return cls(time.monotonic(), _busy(Path("/proc/stat")), times.user + times.system)

    def used_by_others(self) -> float:
        """How many processors others have used since, on average; 0 where that is unknown."""
        now = Use.now()
        passed = now.clock - self.clock
        return max(0.0, (now.busy - self.busy) - (now.own - self.own)) / passed if passed >= ENOUGH else 0.0


def _affinity() -> set[int]:
    """The numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _busy(stat: Path) -> float:
    """Seconds that the processors of this process were busy for; 0 where the system does not count them there."""
    try:
        lines = stat.read_text().splitlines()
    except OSError:  # other systems have no such file, and some hide it
        return 0.0
    mine = {f"cpu{number}" for number in _affinity()}
    ticks = 0
    for line in lines:
        name, *counts = line.split()
        if name in mine:
            user, nice, system, _, _, interrupts, soft = (int(count) for count in counts[:7])
            ticks += user + nice + system + interrupts + soft
    return ticks / os.sysconf("SC_CLK_TCK")


def _quota(groups: Path, root: Path) -> float | None:
    """The processors that the control groups of this process allow, None for all."""
    if not groups.exists():
        return None
    allowed: list[float] = []
    for line in groups.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        folder = root if not controllers else root / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        inside = folder / group.lstrip("/")
        allowed += [limit for one in (inside, *inside.parents) if one.is_relative_to(folder) for limit in _limits(one)]
    return min(allowed, default=None)


def _limits(folder: Path) -> list[float]:
    """The processors that a control group allows, by either version's files; none where it allows all."""
    newer, older = folder / "cpu.max", folder / "cpu.cfs_quota_us"
    if newer.exists():
        quota, period = newer.read_text().split()
        return [] if quota == "max" else [int(quota) / int(period)]
    if older.exists():
        micros = int(older.read_text())
        return [] if micros < 0 else [micros / int((folder / "cpu.cfs_period_us").read_text())]
    return []


_BEGINNING = Use.now()
