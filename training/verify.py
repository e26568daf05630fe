"""Compares prepared data with its checksums, and looks for numbers that are not finite: python -m training.verify DATA.

Prints a line for each shard, and one for each part of a clip that is damaged. Exit codes: 0 no damage, 1 damage or an
error. The tar headers between the parts are not checked: training does not read them.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from keysync.errors import KeySyncError

from .data.index import SPLITS, read_index
from .data.shards import checksum, loaded, mapped
from .data.store import Store, named_place, open_store
from .data.table import Clip


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
    parser.add_argument(
        "data", type=named_place, metavar="DATA", help="folder of the shards, from training.prepare, or its URL"
    )
    folder: Path | str = parser.parse_args(arguments).data
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


def verify(folder: Path | str) -> Iterator[Row]:
    """Reads every part of every shard in a folder or at a URL. Raises `KeySyncError` if there is no valid index."""
    store = open_store(folder)
    index = read_index(store)
    sizes, held = index.sizes, store.sizes()
    for split in SPLITS:
        for shard, clips in groupby(index.splits[split], lambda clip: clip.shard):
            yield _row(store, shard, sizes[shard], held.get(shard), list(clips))


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with their sums."""
    counts = [(row.clips, row.parts, row.bytes, row.unchecked, len(row.damage)) for row in rows]
    sums = (sum(column) for column in zip(*counts, strict=True))
    cells = [["shard", "clips", "parts", "bytes", "no checksum", "damaged"]]
    cells += [[row.shard, *map(str, count)] for row, count in zip(rows, counts, strict=True)]
    cells.append(["all", *map(str, sums)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))) for line in cells)


def _row(store: Store, shard: str, size: int, held: int | None, clips: Sequence[Clip]) -> Row:
    return Row(
        shard,
        len(clips),
        sum(len(clip.members) for clip in clips),
        sum(length for clip in clips for _, length in clip.members.values()),
        sum(part not in clip.checksums for clip in clips for part in clip.members),
        tuple(_damage(store, shard, size, held, clips)),
    )


def _damage(store: Store, shard: str, size: int, held: int | None, clips: Sequence[Clip]) -> Iterator[str]:
    if held is not None and held != size:
        yield f"{shard} has {held} bytes, expected {size}"
    try:
        for clip in clips:
            for part in clip.members:
                if problem := _problem(store, shard, clip, part):
                    yield f"{shard}: {clip.key}.{part} {problem}"
    except OSError as error:
        yield f"cannot read {shard} ({error.strerror or error})"


def _problem(store: Store, shard: str, clip: Clip, part: str) -> str:
    """What is wrong with a part, or ""; of data at a URL it is read once. Raises `OSError` if it cannot be read."""
    place, path = clip.members[part], store.path(shard)
    content = b"" if path is not None else store.read(shard, *place)
    if part in clip.checksums:
        crc = zlib.crc32(content) if path is None else checksum(path, *place)
        if crc != clip.checksums[part]:
            return "is damaged, its checksum differs"
    if not part.endswith(".npy"):
        return ""
    try:
        array = loaded(content) if path is None else mapped(path, *place)
        finite = bool(np.isfinite(array).all())
    except ValueError:
        finite = False
    return "" if finite else "has numbers that are not finite, or is no array"


if __name__ == "__main__":
    sys.exit(main())
