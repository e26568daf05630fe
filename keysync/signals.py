"""Signals that end the program: it cleans up and says by its exit code which one it was (128 and its number)."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

# Ctrl-C, a request to end, and a terminal that has gone; Windows has no SIGHUP.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
STOPPED = "keysync: stopped; no incomplete file is left"
# Seconds in which a second signal does not interrupt the cleaning up after the first.
PATIENCE = 5.0


class StoppedError(KeyboardInterrupt):
    """A signal asks the program to end; `code` is the exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Stop:
    """Raises `StoppedError` in the main thread when a signal arrives, and in `check` where that got lost."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._at = 0.0

    def check(self) -> None:
        """Raises `StoppedError` if a signal has arrived: a library that is called may lose or replace the exception."""
        if self._number is not None:
            raise StoppedError(self._number)

    def handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._number is not None and now - self._at < PATIENCE:
            return
        self._number, self._at = number, now
        raise StoppedError(number)


@contextmanager
def listening() -> Iterator[Stop]:
    """Inside, signals raise `StoppedError`; those that the program was started to ignore (nohup) stay ignored.

    So does an error that a library raises in the place of the signal's.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield stop
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, stop.handle)
    try:
        yield stop
    except Exception:
        stop.check()
        raise
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


@contextmanager
def gently() -> Iterator[Callable[[], bool]]:
    """Inside, the first signal interrupts nothing: what is yielded tells whether it has come. A second one acts as it
    would have outside."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each, handler in heard.items():
            signal.signal(each, handler)

    for number in heard:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


def leave_at_once() -> None:
    """Until `listening`, a signal ends the program at once: while it starts there is nothing to clean up."""
    for number in ENDING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _leave)


def say_stopped(what: str = STOPPED) -> None:
    """Prints that the program was stopped, unless there is nowhere to print to: its terminal may have gone."""
    try:
        sys.stderr.write(f"{what}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - at exit Python flushes it once more


def _leave(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"{STOPPED}\n".encode())
    os._exit(128 + number)
