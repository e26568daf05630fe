"""The engines of a preparation: this process, several processes of this machine, or a Ray cluster.

An engine takes a function that makes the chain, the videos and the number of workers, and yields the outcome of each
video, and of the segments of long ones, in any order.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError

from .chain import Chain, Done, attempt
from .ray_engine import Hashed, hash_on_ray, hashed, run_on_ray
from .rounds import rounds
from .turns import begin
from .videos import Unit, Video

logger = logging.getLogger(__name__)

Make = Callable[[], Chain]
Engine = Callable[[Make, Sequence[Video], int], Iterator[Done]]


def run_here(make: Make, videos: Sequence[Video], workers: int) -> Iterator[Done]:
    """In this process, or in `workers` processes if there are more than one; `make` must then be picklable.

    Where a process is killed, what it may have worked on is tried alone; what is fatal again fails.
    """
    if workers == 1:
        chain = make()
        yield from rounds(lambda units: (attempt(chain, unit) for unit in units), videos)
        return
    with closing(_Workers(make, workers)) as pool:
        yield from rounds(pool.work, videos)


class _Workers:
    """Up to `count` processes, which are started when there is work for them."""

    def __init__(self, make: Make, count: int) -> None:
        # Spawned: libraries with threads do not survive a fork.
        self._make, self._count, self._context = make, count, multiprocessing.get_context("spawn")
        self._others = multiprocessing.active_children()
        self._turns = self._context.Value("i", 0)
        self._pool = self._start()

    def work(self, units: Sequence[Unit]) -> Iterator[Done]:
        """The outcome of each unit, in any order."""
        left = dict.fromkeys(units)
        while left:
            try:
                for done in self._submit(list(left)):
                    del left[done.unit]
                    yield done
            except BrokenProcessPool:
                # Units are begun in order, so those under work are the first that are not done.
                suspects = list(left)[: self._count]
                names = ", ".join(unit.name for unit in suspects)
                logger.warning("a process was killed, probably for lack of memory; one by one are tried: %s", names)
                for unit in suspects:
                    yield self._alone(unit)
                    del left[unit]
                self._restart()

    def close(self) -> None:
        """Ends the processes."""
        for child in multiprocessing.active_children():
            if child not in self._others:
                child.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _alone(self, unit: Unit) -> Done:
        self._restart()
        try:
            (done,) = self._submit([unit])
        except BrokenProcessPool:
            why = f"{unit.name}: the process was killed, by a fault in the video or for lack of memory"
            return Done(unit, failure=why)
        return done

    def _submit(self, units: Sequence[Unit]) -> Iterator[Done]:
        """Raises `BrokenProcessPool` where a process is killed."""
        for future in as_completed([self._pool.submit(_work, self._make, unit) for unit in units]):
            done = future.result()
            if done.error:
                raise KeySyncError(done.error)
            yield done

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._count, mp_context=self._context, initializer=_begin, initargs=(self._turns,))

    def _restart(self) -> None:
        self.close()
        self._pool = self._start()


def hash_here(files: Sequence[Path], workers: int) -> Iterator[Hashed]:
    """The digests of the files in their order, or the errors, from `workers` threads: hashing lets others run."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(hashed, files)


ENGINES: dict[str, Engine] = {"local": run_here, "ray": run_on_ray}
HASHERS: dict[str, Callable[[Sequence[Path], int], Iterator[Hashed]]] = {"local": hash_here, "ray": hash_on_ray}


def _begin(turns: Any) -> None:
    """A worker takes the next GPU, ignores Ctrl-C, which its parent handles, and exits when the parent does."""
    begin(turns)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(make: Make, unit: Unit) -> Done:
    """Returns errors as text: not every exception can be pickled."""
    try:
        return attempt(make(), unit)
    except KeySyncError as error:
        return Done(unit, error=str(error))
