"""A face that is followed in a thread, while the main thread does what needs no track, or only what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event
from typing import Generic, TypeVar

from .behind import Worker
from .face.track import Tracker

Result = TypeVar("Result")


@dataclass
class Seen:
    """What was seen so far of the face that is followed, and the timestamps of these frames."""

    tracker: Tracker = field(default_factory=Tracker)
    pts: list[int] = field(default_factory=list)


class StoppedError(Exception):
    """The thread is to end."""


class Following(Generic[Result]):
    """Runs `follow(on_frame)` in a thread; a context manager. At an exception of the block it ends at its next frame.
    After the block the thread has ended.

    `on_frame` is called in the main thread, for each frame: it may raise to stop.
    """

    def __init__(self, follow: Callable[[Callable[[], None]], Result], on_frame: Callable[[], None]) -> None:
        self._frames, self._stop, self._over = SimpleQueue[bool](), Event(), False
        self._follow, self._on_frame = follow, on_frame
        self._result: Future[Result] | None = None
        self._thread = Worker("keysync-following")

    def __enter__(self) -> Following[Result]:
        return self

    def ended(self, patience: float | None = None) -> bool:
        """Whether it has ended; waits so many seconds for the next frame, None for as long as it takes."""
        if self._result is None:  # not in `__enter__`: an exception there would leave the thread behind
            self._result = self._thread.submit(self._run)
        while not self._over:
            try:
                following = self._frames.get(timeout=patience) if patience != 0 else self._frames.get_nowait()
            except Empty:
                break
            patience = 0
            if following:
                self._on_frame()
            else:
                self._over = True
        return self._over

    def result(self) -> Result:
        """Waits for the end. Raises what `follow` raised."""
        while not self.ended():
            pass
        assert self._result is not None
        return self._result.result()

    def _run(self) -> Result:
        try:
            return self._follow(self._one_more)
        finally:
            self._frames.put(False)

    def _one_more(self) -> None:
        if self._stop.is_set():
            raise StoppedError
        self._frames.put(True)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.end()
