"""Opens a page for votes on the results of a benchmark: python -m training.vote FOLDER.

Two results of one pair are shown side by side, without the names of their systems; the votes go into
FOLDER/votes.csv, of which training.benchmark makes the column Elo. The page is seen on this machine alone. Ctrl+C ends
it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from keysync.errors import KeySyncError

from .evaluation.benchmark.ballots import Ballots
from .evaluation.benchmark.voting_page import HOST, NO_PAIRS, port_of, serve_page


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        ballots = Ballots(options.folder)
        if ballots.draw() is None:
            raise KeySyncError(f"{options.folder}: {NO_PAIRS}")
        server = serve_page(ballots, options.port)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"vote at http://{HOST}:{port_of(server)}/ (Ctrl+C ends it)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"{ballots.votes} votes in {options.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.vote", description="Opens a page for votes on pairs of results of a benchmark."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of training.benchmark")
    parser.add_argument("--port", type=int, default=0, help="of the page (default: any that is free)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
