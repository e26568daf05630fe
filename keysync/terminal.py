"""Standard output and standard error that never cost a job its result.

A character that the terminal's encoding lacks is shown as `?`. Where nothing can be written any more, as on a closed
pipe or a full disk, the rest is dropped.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


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
