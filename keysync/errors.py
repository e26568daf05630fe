"""The one exception of the library, and how its messages name what installs a missing package."""

from __future__ import annotations

import sys


class KeySyncError(Exception):
    """Something the user can put right; the message is one line: what came, what was needed, what to do."""


def install_line(*words: str) -> str:
    """The command that installs packages into the Python that runs: `/usr/bin/python3 -m pip install peft`.

    `words` are pip's: packages by their names on the public index, and options. What a shell would take for more than a
    word stands in quotes.
    """
    line = (sys.executable or "python", "-m", "pip", "install", *words)
    return " ".join(f'"{word}"' if set(word) & set(" <>[]()&;") else word for word in line)
