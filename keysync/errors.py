"""The library's one exception, and the command that installs a missing package."""

from __future__ import annotations

import sys


class KeySyncError(Exception):
    """An error that the user can fix. Its message is one line: what is wrong: what was expected; what to do.

    `about` is a key for the input at fault, such as "vae" or "report". The message names no option and no node: by this
    key the command line and the nodes append how to set that input there.
    """

    def __init__(self, message: str, *, about: str | None = None) -> None:
        super().__init__(message)
        self.about = about


def install_line(*words: str) -> str:
    """The command that installs packages into the running Python: `/usr/bin/python3 -m pip install peft`.

    `words` are pip's arguments: packages and options. Those with characters that are special to a shell are quoted.
    """
    line = (sys.executable or "python", "-m", "pip", "install", *words)
    return " ".join(f'"{word}"' if set(word) & set(" <>[]()&;") else word for word in line)
