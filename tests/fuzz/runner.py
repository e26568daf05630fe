"""Runs the cases in workers, starts another after one that crashes or hangs, and counts what became of them."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .worker import ACCEPTED, FAULTS, REFUSED, SECONDS

ROOT = Path(__file__).resolve().parents[2]
# A worker that says nothing for so long hangs where no alarm reaches it; its start takes some seconds too.
SILENCE = SECONDS + 60


@dataclass
class Tally:
    """What became of the cases of a kind: how often each, and the faults as (case, fault, words)."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, case: int, result: str, words: str) -> None:
        self.counts[result] += 1
        if result in FAULTS:
            self.faults.append((case, result, words))


def run(
    kinds: Sequence[str], cases: int, seed: str, workers: int = 1, done: Callable[[str, Tally], None] | None = None
) -> dict[str, Tally]:
    """Runs `cases` cases of each kind; `done` is called after each kind."""

    def one(name: str) -> tuple[str, Tally]:
        tally = _run_kind(name, cases, seed)
        if done is not None:
            done(name, tally)
        return name, tally

    with ThreadPoolExecutor(workers) as pool:
        return dict(pool.map(one, kinds))


def _run_kind(name: str, cases: int, seed: str) -> Tally:
    tally = Tally()
    case = 0
    while case < cases:
        before = case
        ended = "crash"
        for line in _lines([seed, name, str(case), str(cases)]):
            if line is None:
                ended = "hang"
                break
            row = json.loads(line)
            tally.add(row["case"], row["outcome"], row["words"])
            case = row["case"] + 1
        if case < cases:
            if case == before == 0:
                raise RuntimeError(
                    f"the worker of {name} did not begin: python -m tests.fuzz.worker {seed} '{name}' 0 1"
                )
            tally.add(case, ended, f"the worker of case {case} ended")
            case += 1
    return tally


def _lines(arguments: list[str]) -> Iterator[str | None]:
    """The lines of a worker; None if it hangs, and it is killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdout is not None
    held = b""
    with process, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            while True:
                if not selector.select(SILENCE):
                    yield None
                    return
                part = os.read(process.stdout.fileno(), 65536)
                if not part:
                    return
                *lines, held = (held + part).split(b"\n")
                yield from (line.decode() for line in lines)
        finally:
            process.kill()


def table(tallies: dict[str, Tally]) -> str:
    """The counts as a table, with the faults below it."""
    columns = (ACCEPTED, REFUSED, *FAULTS)
    width = max(map(len, tallies))
    lines = ["  ".join((" " * width, *(column.rjust(12) for column in columns)))]
    for name, tally in {**tallies, "all": _sum(tallies.values())}.items():
        lines.append("  ".join((name.ljust(width), *(str(tally.counts[column]).rjust(12) for column in columns))))
    for name, tally in tallies.items():
        lines += [f"{name}, case {case}: {fault}: {words}" for case, fault, words in tally.faults]
    return "\n".join(lines)


def _sum(tallies: object) -> Tally:
    total = Tally()
    for tally in tallies:  # type: ignore[attr-defined]
        total.counts.update(tally.counts)
    return total
