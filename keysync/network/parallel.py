"""Calls that do not depend on each other, computed at once on the cores of a CPU.

Each takes one core, which costs a small network far less than to share each of its operations among the cores.
Elsewhere the calls follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Stop(Event):
    """Set when results are no longer needed, so that calls can end early."""

    def check(self) -> None:
        """Raises `Stopped` where it is set."""
        if self.is_set():
            raise Stopped


class Stopped(Exception):
    """A call ended early, as its result is no longer needed."""


def cores(device: torch.device) -> int:
    """How many calls are computed at once on a device: as many as torch has threads on a CPU, else 1."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def at_once(calls: Sequence[Callable[[], Result]], device: torch.device, stop: Stop | None = None) -> list[Result]:
    """The results of calls that compute on a device.

    Raises the first exception of a call, or of the waiting thread; then `stop` is set, and it is raised when no call
    runs any more.
    """
    if min(cores(device), len(calls)) < 2:
        return [call() for call in calls]
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def run(call: Callable[[], Result]) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return call()

    with ThreadPoolExecutor(min(cores(device), len(calls)), "keysync-network") as pool, _one_core_each():
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
def _one_core_each() -> Iterator[None]:
    """Threads that begin inside compute with one core; torch's number of threads is that of the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
