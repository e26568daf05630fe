"""The file of votes: protocol, name of the pair, the systems at the left and at the right, and which was preferred."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from keysync.errors import KeySyncError, one_line

from ...data.disk import disk
from .elo import Vote

VOTES = "votes.csv"
HEADS = ("protocol", "name", "left", "right", "choice")
LEFT, RIGHT, NEITHER = "left", "right", "neither"
SHARES = {LEFT: 1.0, RIGHT: 0.0, NEITHER: 0.5}

# Protocol, name, left and right.
Ballot = tuple[str, str, str, str]


def read_votes(path: Path) -> list[Vote]:
    """All votes of a file; none where there is no file. Raises `KeySyncError` for another kind of file."""
    return [Vote(protocol, left, right, SHARES[choice]) for (protocol, _, left, right), choice in read_ballots(path)]


def read_ballots(path: Path) -> Sequence[tuple[Ballot, str]]:
    """What was voted on, and the choice. Raises `KeySyncError` for another kind of file."""
    if not path.exists():
        return []
    try:
        return list(_ballots(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KeySyncError(
            f"{path} cannot be read ({one_line(error)}): expected votes as training.vote writes them"
        ) from error


def _ballots(path: Path) -> Iterator[tuple[Ballot, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != HEADS:
            raise KeySyncError(f"{path} does not begin with {','.join(HEADS)}: expected votes, see training.vote")
        for number, row in enumerate(rows, 2):
            if len(row) != len(HEADS) or row[4] not in SHARES or row[2] == row[3]:
                raise KeySyncError(
                    f"{path}, line {number}: expected protocol, name, two systems, and {LEFT}, {RIGHT} or {NEITHER}"
                )
            yield (row[0], row[1], row[2], row[3]), row[4]


def add_vote(path: Path, ballot: Ballot, choice: str) -> None:
    """Appends a vote. Raises `KeySyncError` where the file cannot be written."""
    with disk(path):
        new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            if new:
                rows.writerow(HEADS)
            rows.writerow((*ballot, choice))
