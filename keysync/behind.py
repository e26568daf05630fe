"""Work that goes on in a thread of its own while the main thread computes what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

# Calls, or items, that wait at most: enough to even out frames that take longer than others.
WAITING = 4


class Behind:
    """Runs calls one after the other in a thread; a context manager.

    An exception of a call is raised by the next `run`, or at the end. At an exception of the block, calls that have not
    begun are dropped. After the block the thread has ended.
    """

    def __init__(self, waiting: int = WAITING) -> None:
        self._thread = ThreadPoolExecutor(1, "keysync-behind")
        self._waiting, self._calls = waiting, deque[Future[Any]]()

    def __enter__(self) -> Behind:
        return self

    def run(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Queues a call; waits while too many are waiting."""
        while len(self._calls) > self._waiting or (self._calls and self._calls[0].done()):
            self._calls.popleft().result()
        self._calls.append(self._thread.submit(call, *arguments))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._thread.shutdown(cancel_futures=True)
            return
        try:
            while self._calls:
                self._calls.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)


def ahead(items: Iterable[Item], waiting: int = WAITING) -> Iterator[Item]:
    """The same items, up to `waiting` of which are made in a thread before they are asked for."""
    source, end = iter(items), object()
    thread = ThreadPoolExecutor(1, "keysync-ahead")

    def following() -> Any:
        return next(source, end)

    made: deque[Future[Any]] = deque()
    try:
        made.extend(thread.submit(following) for _ in range(waiting))
        while (item := made.popleft().result()) is not end:
            made.append(thread.submit(following))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        if isinstance(source, Generator):
            source.close()
