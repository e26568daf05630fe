"""The command of a recipe: its steps, one after the other, into one folder."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError

logger = logging.getLogger(__name__)

Tables = Mapping[str, Mapping[str, Any]]
# Works in a folder, with the tables of a recipe and a number of processes.
Step = Callable[[Path, Tables, int], None]


def run_steps(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    tables: Callable[[], Tables],
    steps: Mapping[str, Step],
    workers: int,
) -> int:
    """Runs the steps that the arguments ask for, by default with `workers` processes; returns the exit code."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder of all results")
    parser.add_argument("--only", choices=list(steps), help="run one step; the steps before it must be done")
    parser.add_argument("--workers", type=int, default=workers, help="processes that render and synthesise speech")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        read = tables()
        for name in steps if options.only is None else (options.only,):
            logger.info("%s", name)
            steps[name](options.output, read, options.workers)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
