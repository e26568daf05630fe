"""The table of clips: columns of numbers in a safetensors file, memory-mapped, so that a machine's processes share it.

With n clips of at most p parts: `frames` (n,) int32; `shard` (n,) int32, a place in the table's list of shards; `keys`,
the UTF-8 bytes of all keys, and `key_ends` (n,) int64; `offsets` and `sizes` (n, p) int64 in bytes of the shard, -1 for
a part that a clip lacks; `crc32` (n, p) int64, -1 if it is unknown. The file's metadata names the parts and the shards.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError, one_line
from keysync.strict_json import quoted, strict_json

Column = NDArray[Any]
ROWS, PLACES, BYTES = "rows", "places", "bytes"
# Of each column: its type, what safetensors calls that, and its shape.
COLUMNS = {
    "frames": ("<i4", "I32", ROWS),
    "shard": ("<i4", "I32", ROWS),
    "key_ends": ("<i8", "I64", ROWS),
    "offsets": ("<i8", "I64", PLACES),
    "sizes": ("<i8", "I64", PLACES),
    "crc32": ("<i8", "I64", PLACES),
    "keys": ("u1", "U8", BYTES),
}
PARTS, SHARDS, UNCHECKED = "keysync.parts", "keysync.shards", "keysync.unchecked"
# Bytes of a header; 100,000 shards take 4 MB.
MOST_HEADER = 2**27
NONSENSE = "numbers that make no sense"


@dataclass(frozen=True)
class Clip:
    """A clip of `frames` frames in the file `shard`; `members`: offset and size in bytes of each part; `checksums`: the
    CRC-32 of each part, empty if they are unknown."""

    shard: str
    key: str
    frames: int
    members: Mapping[str, tuple[int, int]]
    checksums: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Table:
    """The clips of some shards of one split; `shards` are their sizes in bytes by name, in the order of their numbers.

    `unchecked` clips have no checksums. A table that was opened from the file `path` is opened again where it is
    unpickled.
    """

    shards: Mapping[str, int]
    parts: tuple[str, ...]
    columns: Mapping[str, Column]
    unchecked: int = 0
    path: Path | None = None

    @classmethod
    def of(cls, clips: Sequence[Clip], sizes: Mapping[str, int]) -> Table:
        """The table of these clips, whose shards have these sizes."""
        names = tuple(dict.fromkeys(clip.shard for clip in clips))
        parts = tuple(dict.fromkeys(part for clip in clips for part in clip.members))
        numbers, absent = {name: number for number, name in enumerate(names)}, (-1, -1)
        keys = [clip.key.encode() for clip in clips]
        places = [[clip.members.get(part, absent) for part in parts] for clip in clips]
        shape = len(clips), len(parts)
        columns = {
            "frames": [clip.frames for clip in clips],
            "shard": [numbers[clip.shard] for clip in clips],
            "key_ends": list(accumulate(map(len, keys))),
            "offsets": np.reshape([offset for row in places for offset, _ in row], shape),
            "sizes": np.reshape([size for row in places for _, size in row], shape),
            "crc32": np.reshape([clip.checksums.get(part, -1) for clip in clips for part in parts], shape),
            "keys": np.frombuffer(b"".join(keys), np.uint8),
        }
        unchecked = sum(not clip.checksums for clip in clips)
        typed = {name: np.asarray(columns[name], COLUMNS[name][0]) for name in COLUMNS}
        return cls({name: sizes[name] for name in names}, parts, typed, unchecked)

    @classmethod
    def open(cls, path: Path, *, name: str = "") -> Table:
        """The table in a file, of which only the header is read; `name` is what errors call it.

        Raises `KeySyncError` for a file that cannot be read or is not a table.
        """
        try:
            return cls._open(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            why = getattr(error, "strerror", None) or one_line(error)
            raise KeySyncError(f"{name or path} is not a table of clips ({why}): prepare the data again") from error

    @classmethod
    def _open(cls, path: Path) -> Table:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MOST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header = strict_json(file.read(length), most=MOST_HEADER)
        whole = np.memmap(path, np.uint8, "r")
        about = header["__metadata__"]
        parts = tuple(map(str, strict_json(about[PARTS])))
        shards = {str(name): int(size) for name, size in strict_json(about[SHARDS], most=MOST_HEADER)}
        (rows,) = header["frames"]["shape"]
        shapes = {ROWS: [rows], PLACES: [rows, len(parts)], BYTES: header["keys"]["shape"]}
        columns = {}
        for column, (dtype, kind, shape) in COLUMNS.items():
            entry = header[column]
            if entry["dtype"] != kind or entry["shape"] != shapes[shape]:
                raise ValueError(f"{column} is {quoted(entry['dtype'])} {quoted(entry['shape'])}")
            start, end = (8 + length + place for place in entry["data_offsets"])
            # A view of plain arrays: what a slice of a memmap costs is more than what is read through it.
            columns[column] = np.asarray(whole)[start:end].view(dtype).reshape(shapes[shape])
        return cls(shards, parts, columns, int(about[UNCHECKED]), path)

    def save(self, path: Path) -> None:
        """Writes the table as `open` reads it. Raises `OSError` if it cannot be written."""
        about = {
            PARTS: json.dumps(self.parts),
            SHARDS: json.dumps(list(self.shards.items())),
            UNCHECKED: str(self.unchecked),
        }
        header: dict[str, Any] = {"__metadata__": about}
        end = 0
        # The widest numbers first: each column then begins at a multiple of its width.
        names = sorted(COLUMNS, key=lambda name: -self.columns[name].dtype.itemsize)
        for name in names:
            column = self.columns[name]
            start, end = end, end + column.nbytes
            header[name] = {"dtype": COLUMNS[name][1], "shape": list(column.shape), "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in names:
                file.write(np.ascontiguousarray(self.columns[name]).data)

    def names(self) -> Iterator[tuple[str, str]]:
        """The shard and the key of each clip. Raises `KeySyncError` for numbers that make no sense."""
        names, whole, start = list(self.shards), bytes(self.columns["keys"]), 0
        shards, ends = self.columns["shard"], self.columns["key_ends"]
        for row, (shard, end) in enumerate(zip(shards.tolist(), ends.tolist(), strict=True)):
            try:
                if not (start <= end <= len(whole) and 0 <= shard < len(names)):
                    raise ValueError(NONSENSE)
                yield names[shard], whole[start:end].decode()
            except ValueError as error:
                raise self._damaged(row, error) from error
            start = end

    def without(self, shards: Collection[str]) -> Table:
        """The table of the clips in the other shards."""
        column = self.columns
        left = np.array([name not in shards for name in self.shards])
        rows = left[column["shard"]]
        lengths = np.diff(column["key_ends"], prepend=0)
        columns = {name: column[name][rows] for name in COLUMNS if name != "keys"}
        columns["shard"] = (np.cumsum(left) - 1).astype("<i4")[columns["shard"]]
        columns["key_ends"] = np.cumsum(lengths[rows])
        columns["keys"] = column["keys"][np.repeat(rows, lengths)]
        unchecked = int((columns["crc32"] < 0).all(1).sum())
        return Table({n: size for n, size in self.shards.items() if n not in shards}, self.parts, columns, unchecked)

    @classmethod
    def joined(cls, tables: Sequence[Table]) -> Table:
        """One table of the clips of several, whose shards differ."""
        parts = tuple(dict.fromkeys(part for table in tables for part in table.parts))
        columns: dict[str, list[Column]] = {name: [] for name in COLUMNS}
        shards: dict[str, int] = {}
        end = 0
        for table in tables:
            column = table.columns
            for name in ("offsets", "sizes", "crc32"):
                wide = np.full((len(table), len(parts)), -1, "<i8")
                wide[:, [parts.index(part) for part in table.parts]] = column[name]
                columns[name].append(wide)
            columns["shard"].append(column["shard"] + np.int32(len(shards)))
            columns["key_ends"].append(column["key_ends"] + end)
            columns["frames"].append(column["frames"])
            columns["keys"].append(column["keys"])
            shards.update(table.shards)
            end += len(column["keys"])
        whole = {name: np.concatenate(held) for name, held in columns.items()}
        return cls(shards, parts, whole, sum(table.unchecked for table in tables))

    def __len__(self) -> int:
        return len(self.columns["frames"])

    def __getitem__(self, row: int) -> Clip:
        """The clip in a row. Raises `KeySyncError` for one that makes no sense."""
        column = self.columns
        start, end = (int(column["key_ends"][row - 1]) if row else 0), int(column["key_ends"][row])
        number, frames = int(column["shard"][row]), int(column["frames"][row])
        try:
            if not (0 <= start <= end <= len(column["keys"]) and 0 <= number < len(self.shards) and frames > 0):
                raise ValueError(NONSENSE)
            key = bytes(column["keys"][start:end]).decode()
            shard, size = self._shards[number]
            lists = (column[name][row].tolist() for name in ("offsets", "sizes", "crc32"))
            held = [(part, *place) for part, *place in zip(self.parts, *lists, strict=True) if place[0] >= 0]
            if any(length < 0 or offset + length > size for _, offset, length, _ in held):
                raise ValueError(f"clip {quoted(key)} is outside its shard {shard}")
        except ValueError as error:
            raise self._damaged(row, error) from error
        members = {part: (offset, length) for part, offset, length, _ in held}
        return Clip(shard, key, frames, members, {part: crc for part, _, _, crc in held if crc >= 0})

    def _damaged(self, row: int, error: ValueError) -> KeySyncError:
        place = self.path or "the index"
        return KeySyncError(f"row {row} of {place} is damaged ({one_line(error)}): prepare the data again")

    @cached_property
    def _shards(self) -> list[tuple[str, int]]:
        return list(self.shards.items())

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return Table.open, (self.path,)
        return Table, (self.shards, self.parts, self.columns, self.unchecked)


class Clips(Sequence[Clip]):
    """The clips of several tables, one after the other; each is made when it is asked for."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tuple(tables)
        self._ends = list(accumulate(map(len, tables)))

    @property
    def frames(self) -> NDArray[np.int32]:
        """The number of frames of each clip (n,)."""
        columns = [table.columns["frames"] for table in self.tables]
        frames: NDArray[np.int32] = columns[0] if len(columns) == 1 else np.concatenate([np.zeros(0, "<i4"), *columns])
        return frames

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Clip: ...
    @overload
    def __getitem__(self, number: slice) -> list[Clip]: ...
    def __getitem__(self, number: int | slice) -> Clip | list[Clip]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        table = bisect_right(self._ends, number)
        return self.tables[table][number - (self._ends[table - 1] if table else 0)]
