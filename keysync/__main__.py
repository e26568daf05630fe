"""The command `keysync`, and `python -m keysync`: signals are heard before anything large is imported."""

from __future__ import annotations

import sys

from .allocator import hold_memory
from .signals import leave_at_once
from .threads import wait_passively


def run() -> int:
    """Runs one command; returns its exit code."""
    leave_at_once()
    wait_passively()
    hold_memory()
    from .cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
