"""Calls that do not depend on each other, computed at once on the cores of a CPU.

Each takes one core, which costs a small network far less than to share each of its operations among the cores.
Calls of a large one, and all on another device, follow each other: each makes good use of all cores, and together they
would not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import TypeVar

import torch

Result = TypeVar("Result")
# Bytes that a call works in at most to be computed beside others: about what the caches of a CPU hold.
SMALL = 32 * 2**20


class Stop(Event):
    """Set when results are no longer needed, so that calls can end early."""

    def check(self) -> None:
        """Raises `Stopped` where it is set."""
        if self.is_set():
            raise Stopped


class Stopped(Exception):
    """A call ended early, as its result is no longer needed."""


def cores(device: torch.device, size: Callable[[], int]) -> int:
    """How many calls that work in `size()` bytes each are computed at once on a device: as many as torch has threads
    for small ones on a CPU, else 1."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return threads if threads > 1 and size() <= SMALL else 1


def at_once(calls: Sequence[Callable[[], Result]], count: int, stop: Stop | None = None) -> list[Result]:
    """The results of calls, `count` of which are computed at once.

    Raises the first exception of a call, or of the waiting thread; then `stop` is set, and it is raised when no call
    runs any more.
    """
    if min(count, len(calls)) < 2:
        return [call() for call in calls]
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def run(call: Callable[[], Result]) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return call()

    # Each thread says so itself: libraries below torch ask OpenMP, whose number is the thread's own.
    alone = partial(torch.set_num_threads, 1)
    with _kept_threads(), ThreadPoolExecutor(min(count, len(calls)), "keysync-network", alone) as pool:
        running = [pool.submit(run, call) for call in calls]
        try:
            for one in as_completed(running):
                one.result()
        except BaseException:
            if stop is not None:
                stop.set()
            for one in running:
                one.cancel()
            wait(running)
            raise
    return [one.result() for one in running]


@contextmanager
def _kept_threads() -> Iterator[None]:
    """Afterwards torch computes with as many threads as before: one that changes their number changes it for all."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
