"""The library's one exception, the command that installs a missing package, and the reasons that others give."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class KeySyncError(Exception):
    """An error that the user can fix. Its message is one line: what is wrong: what was expected; what to do.

    `about` is a key for the input at fault, such as "vae" or "report". The message names no option and no node: by this
    key the command line and the nodes append how to set that input there.
    """

    def __init__(self, message: str, *, about: str | None = None) -> None:
        super().__init__(message)
        self.about = about


@contextmanager
def concerning(about: str) -> Iterator[None]:
    """Inside, a `KeySyncError` that names no input is about this one."""
    try:
        yield
    except KeySyncError as error:
        error.about = error.about or about
        raise


# Characters of a reason that another library gives; a crafted file can make it as long as itself.
MOST_REASON = 300


def one_line(error: BaseException) -> str:
    """Another library's error as a part of a message: its first line, printable and not too long, or its class."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    line = "".join(letter if letter.isprintable() else "?" for letter in line[: MOST_REASON + 1])
    return line if len(line) <= MOST_REASON else f"{line[:MOST_REASON]}..."


def install_line(*words: str) -> str:
    """The command that installs packages into the running Python: `/usr/bin/python3 -m pip install peft`.

    `words` are pip's arguments: packages and options. Those with characters that are special to a shell are quoted.
    """
    line = (sys.executable or "python", "-m", "pip", "install", *words)
    return " ".join(f'"{word}"' if set(word) & set(" <>[]()&;") else word for word in line)
