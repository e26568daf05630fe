"""Compares prepared data with its checksums, and looks for numbers that are not finite: python -m training.verify DATA.

Prints a line for each shard, and one for each part of a clip that is damaged. Exit codes: 0 no damage, 1 damage or an
error. The tar headers between the parts are not checked: training does not read them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from keysync.errors import KeySyncError

from .data.index import SPLITS, Clip, read_index
from .data.shards import checksum, mapped


@dataclass(frozen=True)
class Row:
    """What a shard holds: clips, parts, bytes of parts, parts without a checksum, and what is wrong, a line each."""

    shard: str
    clips: int
    parts: int
    bytes: int
    unchecked: int
    damage: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Verifies a folder of prepared data; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.verify", description="Compares prepared data with its checksums."
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the shards, from training.prepare")
    folder: Path = parser.parse_args(arguments).data
    try:
        rows = list(verify(folder))
    except KeySyncError as error:
        print(f"verify: error: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    for line in (line for row in rows for line in row.damage):
        print(f"verify: {line}", file=sys.stderr)
    unchecked = sum(row.unchecked for row in rows)
    if unchecked:
        print(f"verify: {unchecked} parts have no checksum: prepare the data again to add them", file=sys.stderr)
    damaged = sum(len(row.damage) for row in rows)
    if damaged:
        print(f"verify: error: {folder} is damaged: copy or prepare the data again", file=sys.stderr)
    return int(damaged > 0)


def verify(folder: Path) -> Iterator[Row]:
    """Reads every part of every shard in `folder`. Raises `KeySyncError` if there is no valid index."""
    index = read_index(folder)
    for split in SPLITS:
        for shard, clips in groupby(index.splits[split], lambda clip: clip.shard):
            yield _row(folder / shard, index.sizes[shard], list(clips))


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with their sums."""
    counts = [(row.clips, row.parts, row.bytes, row.unchecked, len(row.damage)) for row in rows]
    sums = (sum(column) for column in zip(*counts, strict=True))
    cells = [["shard", "clips", "parts", "bytes", "no checksum", "damaged"]]
    cells += [[row.shard, *map(str, count)] for row, count in zip(rows, counts, strict=True)]
    cells.append(["all", *map(str, sums)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))) for line in cells)


def _row(path: Path, size: int, clips: Sequence[Clip]) -> Row:
    return Row(
        path.name,
        len(clips),
        sum(len(clip.members) for clip in clips),
        sum(length for clip in clips for _, length in clip.members.values()),
        sum(part not in clip.checksums for clip in clips for part in clip.members),
        tuple(_damage(path, size, clips)),
    )


def _damage(path: Path, size: int, clips: Sequence[Clip]) -> Iterator[str]:
    try:
        held = path.stat().st_size
        if held != size:
            yield f"{path.name} has {held} bytes, expected {size}"
        for clip in clips:
            for part, place in clip.members.items():
                if part in clip.checksums and checksum(path, *place) != clip.checksums[part]:
                    yield f"{path.name}: {clip.key}.{part} is damaged, its checksum differs"
                elif part.endswith(".npy") and not _finite(path, *place):
                    yield f"{path.name}: {clip.key}.{part} has numbers that are not finite, or is no array"
    except OSError as error:
        yield f"cannot read {path.name} ({error.strerror or error})"


def _finite(path: Path, offset: int, size: int) -> bool:
    try:
        return bool(np.isfinite(mapped(path, offset, size)).all())
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
