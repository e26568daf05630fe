"""Prints what is measured on rendered people, table by table: python -m training.small.tables [NAME ...].

Who is found and what several speakers get, what the face finder sees, what covers a mouth, tilted heads, and the seam.
Each table is a command of its own too, which has options for its size.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

# The commands that print them, by name; each is imported when it is its turn.
TABLES = {
    "who": "training.small.who",
    "faces": "training.synthetic.measure.finding",
    "occluders": "training.synthetic.measure.occlusion",
    "tilt": "training.evaluation.tilt",
    "seam": "training.evaluation.seams",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns 1 where one could not be made. The others are printed all the same."""
    parser = argparse.ArgumentParser(
        prog="python -m training.small.tables", description="Prints the tables of what is measured on rendered people."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(TABLES)} (default: all)")
    parser.add_argument(
        "--media", type=Path, metavar="FOLDER", help="for who: clips of one person each with sound (*.mpg)"
    )
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in TABLES:
            parser.error(f"{name!r} is no table: choose from {', '.join(TABLES)}")
    failed: int = 0
    for name in options.names or TABLES:
        print(f"\n## {name}\n", flush=True)
        more = ["--media", str(options.media)] if options.media and name == "who" else []
        failed |= import_module(TABLES[name]).main(more)
    return failed


if __name__ == "__main__":
    sys.exit(main())
