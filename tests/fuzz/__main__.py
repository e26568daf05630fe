"""Reads damaged files of every kind: python -m tests.fuzz [--cases N] [--seed S] [--workers W] [KIND ...].

Prints what became of them, and returns 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import os
import sys

from .kinds import KINDS, names
from .runner import Tally, run, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Reads damaged files of every kind.")
    parser.add_argument("kinds", nargs="*", help=f"parts of their names, by default all: {'; '.join(KINDS)}")
    parser.add_argument("--cases", type=int, default=10_000, help="of all kinds together, at least")
    parser.add_argument("--seed", default="0", help="another seed damages in other ways")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    chosen = names(arguments.kinds)
    tallies = run(chosen, -(-arguments.cases // len(chosen)), arguments.seed, arguments.workers, _tell)
    print(table(tallies))
    return int(any(tally.faults for tally in tallies.values()))


def _tell(name: str, tally: Tally) -> None:
    print(f"{name}: {sum(tally.counts.values())} cases, {len(tally.faults)} faults", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
