"""Which two results are shown next: of one pair, by two systems, those with the fewest votes first, in random order."""

from __future__ import annotations

import secrets
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

from .pairs import CROSS, RECONSTRUCTION
from .results import ENDINGS, RESULTS, systems_of
from .votes import VOTES, Ballot, add_vote, read_ballots


class Ballots:
    """The results in a folder to vote on, and the votes in its file.

    Whoever votes sees a random word for a ballot, not the systems. Raises `KeySyncError` for a damaged file of votes.
    """

    def __init__(self, folder: Path, seed: int | None = None) -> None:
        self.folder = folder.resolve()
        self._rng = np.random.default_rng(seed)
        self._results = {
            (protocol, system): self._names(system, protocol)
            for protocol in (RECONSTRUCTION, CROSS)
            for system in systems_of(folder)
        }
        self._counts = Counter(_sorted(ballot) for ballot, _ in read_ballots(folder / VOTES))
        self._open: dict[str, Ballot] = {}

    @property
    def votes(self) -> int:
        """How many votes there are."""
        return self._counts.total()

    def draw(self) -> str | None:
        """The word of a new ballot; None where no two systems have a result of the same pair."""
        ballots = [
            (protocol, name, one, other)
            for (protocol, one), (again, other) in combinations(self._results, 2)
            if protocol == again
            for name in sorted(self._results[protocol, one].keys() & self._results[protocol, other].keys())
        ]
        if not ballots:
            return None
        fewest = min(self._counts[_sorted(ballot)] for ballot in ballots)
        rare = [ballot for ballot in ballots if self._counts[_sorted(ballot)] == fewest]
        protocol, name, *systems = rare[int(self._rng.integers(len(rare)))]
        left, right = self._rng.permutation(systems).tolist()
        word = secrets.token_urlsafe(9)
        self._open[word] = protocol, name, left, right
        return word

    def video(self, word: str, side: int) -> Path | None:
        """The result at the left (0) or right (1) of an open ballot; None for any other word."""
        if word not in self._open:
            return None
        protocol, name, *systems = self._open[word]
        return self._results[protocol, systems[side]][name]

    def vote(self, word: str, choice: str) -> bool:
        """Writes the vote on an open ballot, and closes it; False for any other word.

        Raises `KeySyncError` where it cannot be written: the ballot stays open.
        """
        if word not in self._open:
            return False
        add_vote(self.folder / VOTES, self._open[word], choice)
        self._counts[_sorted(self._open.pop(word))] += 1
        return True

    def _names(self, system: str, protocol: str) -> dict[str, Path]:
        """The results of a system by the name of their pair; links that lead out of the folder are left out."""
        place = self.folder / RESULTS / system / protocol
        files = sorted(place.iterdir()) if place.is_dir() else []
        return {
            file.name.removesuffix(file.suffix): file.resolve()
            for file in files
            if file.suffix in ENDINGS and file.is_file() and file.resolve().is_relative_to(self.folder)
        }


def _sorted(ballot: Ballot) -> Ballot:
    """The same ballot, whichever system is at the left."""
    protocol, name, *systems = ballot
    left, right = sorted(systems)
    return protocol, name, left, right
