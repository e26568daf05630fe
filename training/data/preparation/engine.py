"""The engines of a preparation: this process, several processes of this machine, or a Ray cluster.

An engine takes a function that makes the chain, the videos and the number of workers, and yields the outcome of each
video in any order.
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
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError

from .chain import Chain, Done, attempt
from .ray_engine import Hashed, hash_on_ray, hashed, run_on_ray
from .turns import begin
from .videos import Video

logger = logging.getLogger(__name__)

Make = Callable[[], Chain]
Engine = Callable[[Make, Sequence[Video], int], Iterator[Done]]


def run_here(make: Make, videos: Sequence[Video], workers: int) -> Iterator[Done]:
    """In this process, or in `workers` processes if there are more than one; `make` must then be picklable.

    Where a process is killed, those videos that it may have worked on are tried alone; one that is fatal again fails.
    """
    if workers == 1:
        chain = make()
        yield from (attempt(chain, video) for video in videos)
        return
    left = dict.fromkeys(videos)
    while left:
        try:
            for done in _in_processes(make, list(left), workers):
                del left[done.video]
                yield done
        except BrokenProcessPool:
            # Videos are begun in order, so those under work are the first that are not done.
            suspects = list(left)[:workers]
            names = ", ".join(video.name for video in suspects)
            logger.warning("a process was killed, probably for lack of memory; one by one are tried: %s", names)
            for video in suspects:
                yield _alone(make, video)
                del left[video]


def _alone(make: Make, video: Video) -> Done:
    try:
        (done,) = _in_processes(make, [video], 1)
    except BrokenProcessPool:
        why = f"{video.name}: the process was killed, by a fault in the video or for lack of memory"
        return Done(video, failure=why)
    return done


def _in_processes(make: Make, videos: Sequence[Video], workers: int) -> Iterator[Done]:
    """Raises `BrokenProcessPool` where a process is killed."""
    # Spawned: libraries with threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    turns = context.Value("i", 0)
    pool = ProcessPoolExecutor(min(workers, len(videos)), mp_context=context, initializer=_begin, initargs=(turns,))
    try:
        for future in as_completed([pool.submit(_work, make, video) for video in videos]):
            done = future.result()
            if done.error:
                raise KeySyncError(done.error)
            yield done
    finally:
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        pool.shutdown(cancel_futures=True)


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


def _work(make: Make, video: Video) -> Done:
    """Returns errors as text: not every exception can be pickled."""
    try:
        return attempt(make(), video)
    except KeySyncError as error:
        return Done(video, error=str(error))
