"""The last step of preparation: packs clips into WebDataset shards and writes their index.

The same clips give the same bytes in any order, on a disk and at a URL. Shards are only added: one stays as it is while
all its clips do.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from keysync.errors import KeySyncError

from ..index import FILE, SPLITS, DataInfo, Index, Listed, read_index, to_json
from ..store import Store, open_store
from ..table import Clip, Table
from .settings import KEYFRAME_SPAN
from .split import read_people, split, write_people

SHARD_BYTES = 10**9
# Tables of a split; with more they become one.
MOST_TABLES = 64
OURS = re.compile(rf"(?P<split>{'|'.join(SPLITS)})-(?P<number>\d{{6}})\.(?P<suffix>tar|safetensors)")


@dataclass(frozen=True)
class ClipFiles:
    """A finished clip of `frames` frames of the video `video`, with the file of each part by the part's name.

    `key` names it in the shards, without dots, which end a key there, and slashes. `person` is who is seen, by default
    somebody who is in no other video.
    """

    key: str
    video: str
    frames: int
    parts: Mapping[str, Path]
    person: str = ""

    @classmethod
    def of(cls, key: str, video: str, frames: int, files: Iterable[Path], person: str = "") -> ClipFiles:
        """A clip in files that are named KEY.PART."""
        return cls(key, video, frames, {file.name[len(key) + 1 :]: file for file in files}, person)

    @property
    def group(self) -> str:
        """Whose clips are all in one split."""
        return self.person or self.video

    def __post_init__(self) -> None:
        if not self.key or set(self.key) & set("./"):
            raise ValueError(f"{self.key!r} is not a valid key of a clip")


def write_shards(
    clips: Iterable[ClipFiles],
    place: Path | str,
    info: DataInfo,
    *,
    shard_bytes: int = SHARD_BYTES,
    validation_share: float = 0.05,
    unchanged: Collection[str] = (),
) -> Path | str:
    """Writes shards train-000000.tar ..., validation-000000.tar ..., a table of the clips of each split, and last the
    index to a folder or URL; returns the index.

    A shard ends with the clip that reaches `shard_bytes`. `validation_share` is the share of the people; see `split`.
    The clips of the videos `unchanged` are there, as they are now, by an earlier preparation: shards that hold no other
    are kept, and the rest is deleted once the new index is in its place. Raises `KeySyncError` without clips, for
    duplicate keys, on a full disk, and for a share that is not between 0 and 1.
    """
    store = open_store(place)
    splits = split(clips, validation_share, known=read_people(store), span=1 + (KEYFRAME_SPAN - 1) // info.spacing)
    before = read_index(store) if unchanged else None
    files = store.sizes()
    listed: dict[str, tuple[Listed, ...]] = {}
    named: set[str] = set()
    for name in SPLITS:
        tables = _kept(before, files, name, {clip.key for clip in splits[name] if clip.video in unchanged})
        held = {key for entry in tables for _, key in entry.table.names()}
        new = [clip for clip in splits[name] if clip.key not in held]
        if new:
            tables.append(Entry(_write_shards(store, name, _next(files, name, "tar"), new, shard_bytes)))
        if len(tables) > MOST_TABLES:
            tables = [Entry(Table.joined([entry.table for entry in tables]))]
        named.update(*(entry.table.shards for entry in tables))
        listed[name] = _write_tables(store, name, _next(files, name, "safetensors"), tables)
    write_people(store, splits)
    with store.write(FILE) as file:
        file.write_bytes(to_json(info, listed).encode())
    named.update(entry.table for entries in listed.values() for entry in entries)
    for file_name in store.sizes().keys() - named:
        if OURS.fullmatch(file_name):
            store.remove(file_name)
    return store.named(FILE)


class Entry(NamedTuple):
    """A table, and how the index lists it; None if it is not written yet."""

    table: Table
    listed: Listed | None = None


def _kept(index: Index | None, files: Mapping[str, int], name: str, wanted: Collection[str]) -> list[Entry]:
    """The tables of a split's shards that hold only clips of these keys; `files` are the sizes of what is there."""
    if index is None or index.listed is None:
        return []
    found = []
    for table, listed in zip(index.splits[name].tables, index.listed[name], strict=True):
        broken = {shard for shard, key in table.names() if key not in wanted}
        broken |= {shard for shard, size in table.shards.items() if files.get(shard) != size}
        if not broken:
            found.append(Entry(table, listed))
        elif len(broken) < len(table.shards):
            found.append(Entry(table.without(broken)))
    return found


def _write_tables(store: Store, name: str, number: int, tables: Sequence[Entry]) -> tuple[Listed, ...]:
    """Writes the tables that are not written yet."""
    listed = []
    for entry in tables:
        if entry.listed is not None:
            listed.append(entry.listed)
            continue
        file_name = f"{name}-{number:06}.safetensors"
        with store.write(file_name) as file:
            entry.table.save(file)
            listed.append(Listed.of(file_name, file, entry.table))
        number += 1
    return tuple(listed)


def _next(files: Iterable[str], name: str, suffix: str) -> int:
    """The first free number: that of no file, listed or left by a run that was killed."""
    named = (held for file in files if (held := OURS.fullmatch(file)))
    numbers = (int(held["number"]) for held in named if (held["split"], held["suffix"]) == (name, suffix))
    return 1 + max(numbers, default=-1)


def _write_shards(store: Store, name: str, number: int, clips: Iterable[ClipFiles], shard_bytes: int) -> Table:
    """The table of the new shards of a split."""
    sizes: dict[str, int] = {}
    placed: list[Clip] = []
    for place, shard in enumerate(_shards(clips, shard_bytes), number):
        file_name = f"{name}-{place:06}.tar"
        with store.write(file_name) as file:
            checksums = _write_shard(file, shard)
            sizes[file_name] = file.stat().st_size
            placed += _placed(file, file_name, shard, checksums)
    return Table.of(placed, sizes)


def _shards(clips: Iterable[ClipFiles], shard_bytes: int) -> Iterator[list[ClipFiles]]:
    shard: list[ClipFiles] = []
    size = 0
    for clip in clips:
        shard.append(clip)
        try:
            size += sum(path.stat().st_size for path in clip.parts.values())
        except OSError as error:
            raise KeySyncError(f"cannot read {error.filename} ({error.strerror}): prepare the data again") from error
        if size >= shard_bytes:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _write_shard(path: Path, clips: Iterable[ClipFiles]) -> dict[str, dict[str, int]]:
    """Writes reproducible bytes: no times, no owners, members sorted by name; returns each clip's CRC-32 by part."""
    checksums = {}
    with tarfile.open(path, "w") as tar:
        for clip in clips:
            content = {part: source.read_bytes() for part, source in sorted(clip.parts.items())}
            for part, held in content.items():
                member = tarfile.TarInfo(f"{clip.key}.{part}")
                member.size, member.mode = len(held), 0o444
                tar.addfile(member, BytesIO(held))
            checksums[clip.key] = {part: zlib.crc32(held) for part, held in content.items()}
    return checksums


def _placed(
    path: Path, name: str, clips: Iterable[ClipFiles], checksums: Mapping[str, Mapping[str, int]]
) -> Iterator[Clip]:
    """The clips of a written shard, with the positions and checksums of their parts."""
    members: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, part = member.name.partition(".")
            members.setdefault(key, {})[part] = (member.offset_data, member.size)
    return (Clip(name, clip.key, clip.frames, members[clip.key], checksums[clip.key]) for clip in clips)
