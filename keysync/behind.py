"""Work that goes on in a thread of its own while the main thread computes what comes next; queues are bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
# Times a wait.
Waited = Callable[[], AbstractContextManager[None]]

# Calls, or items, that wait at most: enough to even out frames that take longer than others.
WAITING = 4


class Worker:
    """A thread that runs calls one after the other."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)
        self._running, self._ended = Lock(), False

    def submit(self, call: Callable[..., Item], *arguments: Any) -> Future[Item]:
        return self._pool.submit(self._run, call, *arguments)

    def _run(self, call: Callable[..., Item], *arguments: Any) -> Item:
        with self._running:
            if self._ended:
                raise CancelledError
            return call(*arguments)

    def end(self) -> None:
        """Drops the calls that wait; returns when none runs any more.

        A pool that was interrupted while it began its thread does not know of it, and would not wait for its call.
        """
        self._ended = True
        self._pool.shutdown(cancel_futures=True)
        with self._running:
            pass


class Behind:
    """Runs calls one after the other in a thread; a context manager.

    Calls that wait weigh `waiting` at most together, and one more; `waited` times how long `run` waits for room. An
    exception of a call is raised by the next `run`, or at the end. At an exception of the block, calls that have not
    begun are dropped. After the block the thread has ended.
    """

    def __init__(self, waiting: int = WAITING, waited: Waited = nullcontext) -> None:
        self._thread = Worker("keysync-behind")
        self._waiting, self._waited = waiting, waited
        self._calls, self._weight = deque[tuple[Future[Any], int]](), 0

    def __enter__(self) -> Behind:
        return self

    def run(self, call: Callable[..., Any], *arguments: Any, weight: int = 1) -> None:
        """Queues a call; waits while too many are waiting."""
        while self._calls and self._calls[0][0].done():
            self._end_first()
        if self._weight > self._waiting:
            with self._waited():
                while self._weight > self._waiting:
                    self._end_first()
        self._calls.append((self._thread.submit(call, *arguments), weight))
        self._weight += weight

    def _end_first(self) -> None:
        call, weight = self._calls.popleft()
        self._weight -= weight
        call.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._thread.end()
            return
        try:
            with self._waited():
                while self._calls:
                    self._end_first()
        finally:
            self._thread.end()


class Ahead:
    """Makes the items of several sources, one source after the other, in a thread before they are asked for; a context
    manager.

    `waiting` items are made before they are asked for at most; `waited` times how long they are waited for. After the
    block the thread has ended.
    """

    def __init__(self, waiting: int, waited: Waited = nullcontext) -> None:
        self._thread = Worker("keysync-ahead")
        self._waiting, self._waited = waiting, waited
        self._sources = deque[tuple[Iterator[Any], int]]()
        self._made = deque[Future[Any]]()

    def __enter__(self) -> Ahead:
        return self

    def add(self, source: Iterator[Item], count: int) -> Iterator[Item]:
        """The `count` items of a source, the first of which are made from now on. All of them must be taken, and those
        of sources that were added before it earlier."""
        self._sources.append((source, count))
        self._fill()
        return self._take(count)

    def _take(self, count: int) -> Iterator[Item]:
        for _ in range(count):
            made = self._made.popleft()
            self._fill()
            if not made.done():
                with self._waited():
                    made.exception()
            yield made.result()

    def _fill(self) -> None:
        while self._sources and len(self._made) < self._waiting:
            source, left = self._sources.popleft()
            if left:
                self._made.append(self._thread.submit(next, source))
                self._sources.appendleft((source, left - 1))

    def __exit__(self, *_: object) -> None:
        self._thread.end()


def ahead(items: Iterable[Item], waiting: int = WAITING, waited: Waited = nullcontext) -> Generator[Item, None, None]:
    """The same items, up to `waiting` of which are made in a thread before they are asked for; `waited` times how long
    they are waited for."""
    source, end = iter(items), object()
    thread = Worker("keysync-ahead")

    def following() -> Any:
        return next(source, end)

    made: deque[Future[Any]] = deque()
    try:
        made.extend(thread.submit(following) for _ in range(waiting))
        while True:
            first = made.popleft()
            if not first.done():
                with waited():
                    first.exception()
            if (item := first.result()) is end:
                break
            made.append(thread.submit(following))
            yield item
    finally:
        thread.end()
        if isinstance(source, Generator):
            source.close()
