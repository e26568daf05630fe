"""Standard output and standard error that never cost a job its result.

A character that the terminal's encoding lacks is shown as `?`. Where nothing can be written any more, as on a closed
pipe or a full disk, the rest is dropped.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from .progress import Moment, clock_time

# Seconds between two states of a line on a terminal; elsewhere, parts of the job between two lines.
OFTEN, PARTS = 0.1, 10


class PatientStream(io.TextIOBase):
    """A text stream on another; writing to it never raises. `lost`: something was dropped.

    The other is None where a process has none: it was started with the file closed (`>&-`).
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.lost = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the other stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Writes what can be shown of `text`."""
        self.lost |= self._stream is None and bool(text)
        self._try(lambda stream: stream.write(_shown(text, stream)))
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Passes on what is held."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The number of its file; raises `OSError` where it has none."""
        if self._stream is None:
            raise io.UnsupportedOperation("no file")
        return self._stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, action: Callable[[TextIO], Any]) -> None:
        if self._stream is None:
            return
        try:
            action(self._stream)
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.lost = True
            self._give_up()

    def _give_up(self) -> None:
        """Lets what the stream still holds go nowhere: Python would fail over it at its exit."""
        with contextlib.suppress(OSError, ValueError):  # a stream that has no file, or is closed
            number = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
        self._stream = None


def _shown(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"  # None: a stream in memory
    return text.encode(encoding, "replace").decode(encoding)


@contextlib.contextmanager
def patient_streams() -> Iterator[PatientStream]:
    """Inside, all that is printed, by whomever, goes through patient streams; yields the one of standard output."""
    with (
        contextlib.redirect_stdout(PatientStream(sys.stdout)) as output,
        contextlib.redirect_stderr(PatientStream(sys.stderr)) as errors,
    ):
        try:
            yield output
        finally:
            output.flush()
            errors.flush()


class ProgressLine:
    """A job's phase, share and time left: on a terminal in one line, elsewhere in a line at each tenth of the job.

    What is printed besides goes through `say`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stream = sys.stderr
        self._in_place = self._stream.isatty()
        self._shown = ""
        self._state: tuple[str, int] | None = None
        self._due = 0.0

    def show(self, moment: Moment) -> None:
        """Shows it, unless as good as the same is shown already."""
        percent = int(100 * moment.share)
        now = self._clock()
        state = moment.phase, percent if self._in_place else percent * PARTS // 100
        if state == self._state if not self._in_place else now < self._due and percent < 100:
            return
        self._state, self._due = state, now + OFTEN
        left = "" if moment.seconds_left is None else f", {clock_time(moment.seconds_left)} left"
        line = f"{moment.phase}: {percent} %{left if percent < 100 else ''}"
        if not self._in_place:
            self._write(f"{line}\n")
            return
        self._write(f"\r{line.ljust(len(self._shown))}")
        self._shown = line

    def say(self, line: str) -> None:
        """Prints a line to standard output."""
        self.close()
        print(f"keysync: {line}", flush=True)  # noqa: T201 - what the command line prints

    def close(self) -> None:
        """What is printed next has a line of its own."""
        if self._shown:
            self._write("\n")
            self._shown = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
