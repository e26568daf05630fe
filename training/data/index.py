"""The index of prepared data: what all clips share, and for each split the tables of its clips.

A shard is an uncompressed WebDataset tar. A clip's parts are its members `KEY.PART`; a table has the offset and size of
each part, so that a window is read without reading the whole shard, and the CRC-32 of its bytes, which older data may
lack.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keysync.errors import KeySyncError, one_line
from keysync.method import NETWORK_RATE, PUBLISHED_CROP_SCALE
from keysync.strict_json import quoted, strict_json
from keysync.whole import whole_file

from . import digest
from .fields import pair, table_name, whole
from .older_index import FORMAT as OLDER_FORMAT
from .older_index import older_clips
from .store import Store
from .table import COLUMNS, Clips, Table

FORMAT = 2
# Characters of an index. In format 1 a clip takes 400.
MOST_CHARACTERS = 2**30
FILE = "index.json"
HASHED = [name for name in COLUMNS if name != "crc32"]
TRAIN, VALIDATION = SPLITS = ("train", "validation")


@dataclass(frozen=True)
class EncoderInfo:
    """A speech encoder of the data: the width of its feature rows, and its file or folder."""

    channels: int
    origin: str


@dataclass(frozen=True)
class DataInfo:
    """What all clips share: size (H, W) of the crops and (h, w) of the latents, least number of frames `window`, models
    and detector, `crop_scale` of a crop over the face's points, and `spacing` of a clip's frames in the 25 fps grid: 1,
    or more in data for keyframes only."""

    resolution: tuple[int, int]
    latent_size: tuple[int, int]
    window: int
    encoders: Mapping[str, EncoderInfo]
    vae: str
    detector: str
    crop_scale: float = PUBLISHED_CROP_SCALE
    spacing: int = 1


@dataclass(frozen=True)
class Listed:
    """A table as the index lists it: its file, the file's size and digest, its number of clips, and the digest of all
    but their checksums."""

    table: str
    bytes: int
    digest: str
    clips: int
    content: str

    @classmethod
    def of(cls, name: str, path: Path, table: Table) -> Listed:
        """The table in the file `path`, which will be called `name`."""
        return cls(name, path.stat().st_size, digest.of_file(path), len(table), content_of(table))


@dataclass(frozen=True)
class Index:
    """The clips of each split, and how the index lists their tables; of older data, the digest of each table alone."""

    info: DataInfo
    splits: Mapping[str, Clips]
    contents: Mapping[str, tuple[str, ...]]
    listed: Mapping[str, tuple[Listed, ...]] | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each shard in bytes."""
        tables = (table for clips in self.splits.values() for table in clips.tables)
        return {name: size for table in tables for name, size in table.shards.items()}

    @property
    def digest(self) -> str:
        """A digest of all but the checksums."""
        return digest.of_json([asdict(self.info), {split: list(held) for split, held in self.contents.items()}])


def content_of(table: Table) -> str:
    """The digest of all that a table says but the checksums."""
    columns = {name: digest.of_bytes(np.ascontiguousarray(table.columns[name]).data) for name in HASHED}
    return digest.of_json([list(table.shards.items()), table.parts, columns])


def to_json(info: DataInfo, listed: Mapping[str, tuple[Listed, ...]]) -> str:
    """The content of index.json, which `read_index` reads."""
    return (
        json.dumps({**shared(info, FORMAT), "splits": {s: list(map(asdict, held)) for s, held in listed.items()}})
        + "\n"
    )


def shared(info: DataInfo, version: int) -> dict[str, Any]:
    """What index.json says of all clips."""
    return {
        "format": version,
        "fps": NETWORK_RATE,
        "resolution": info.resolution,
        "latent_size": info.latent_size,
        "window": info.window,
        "encoders": {name: asdict(made) for name, made in info.encoders.items()},
        "vae": {"origin": info.vae},
        "detector": info.detector,
        "crop_scale": info.crop_scale,
        "spacing": info.spacing,
    }


def read_index(store: Store) -> Index:
    """The index of the data at a place. Raises `KeySyncError` if there is none, or if it is invalid."""
    path = store.named(FILE)
    try:
        content = strict_json(store.read(FILE), most=MOST_CHARACTERS)
        version = content["format"]
        if version == OLDER_FORMAT:
            info = _info(content)
            splits = {split: older_clips(content["splits"], split) for split in SPLITS}
            contents = {split: tuple(map(content_of, clips.tables)) for split, clips in splits.items()}
            return Index(info, splits, contents)
        if version == FORMAT:
            info = _info(content)
            listed = {split: tuple(map(_listed, content["splits"][split])) for split in SPLITS}
            contents = {split: tuple(held.content for held in tables) for split, tables in listed.items()}
            splits = {split: Clips([_table(store, held) for held in tables]) for split, tables in listed.items()}
            return Index(info, splits, contents, listed)
    except OSError as error:
        raise KeySyncError(
            f"{store.place} has no prepared data ({FILE}: {error.strerror}): "
            f"run python -m training.prepare VIDEOS -o {store.place}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        why = f"{one_line(error)} is missing" if isinstance(error, KeyError) else one_line(error)
        raise KeySyncError(f"{path} is not an index of prepared data ({why}): prepare the data again") from error
    raise KeySyncError(f"{path} has format {quoted(version)}: expected {FORMAT}; prepare the data again")


def _info(content: dict[str, Any]) -> DataInfo:
    """Raises built-in exceptions for content that is not an index."""
    if content["fps"] != NETWORK_RATE:
        raise ValueError(f"{quoted(content['fps'])} frames a second, expected {NETWORK_RATE}")
    encoders = {
        str(name): EncoderInfo(whole(made["channels"], 1), str(made["origin"]))
        for name, made in content["encoders"].items()
    }
    return DataInfo(
        resolution=pair(content["resolution"], 1),
        latent_size=pair(content["latent_size"], 1),
        window=whole(content["window"], 1),
        encoders=encoders,
        vae=str(content["vae"]["origin"]),
        detector=str(content["detector"]),
        crop_scale=float(content.get("crop_scale", PUBLISHED_CROP_SCALE)),
        spacing=whole(content.get("spacing", 1), 1),
    )


def _listed(entry: dict[str, Any]) -> Listed:
    """Raises built-in exceptions for content that lists no table."""
    sums = {name: _digest(entry[name]) for name in ("digest", "content")}
    return Listed(table_name(entry["table"]), whole(entry["bytes"], 1), clips=whole(entry["clips"], 1), **sums)


def _digest(value: Any) -> str:
    if not digest.DIGEST.fullmatch(value):
        raise ValueError(f"{quoted(value)} is not a digest")
    found: str = value
    return found


def _table(store: Store, listed: Listed) -> Table:
    """The table, opened; of a remote store in a copy on this machine, which its processes share.

    Raises `KeySyncError` for one that is not as it was listed.
    """
    name = store.named(listed.table)
    path = store.path(listed.table)
    try:
        if path is None:
            path = _copied(store, listed)
        size = path.stat().st_size
    except OSError as error:
        raise KeySyncError(f"cannot read {name} ({error.strerror}): copy or prepare the data again") from error
    if size != listed.bytes:
        raise KeySyncError(f"{name} has {size} bytes, expected {listed.bytes}: copy or prepare the data again")
    table = Table.open(path, name=str(name))
    if len(table) != listed.clips:
        raise KeySyncError(f"{name} lists {len(table)} clips, expected {listed.clips}: copy or prepare the data again")
    return table


def _copied(store: Store, listed: Listed) -> Path:
    """Raises `OSError` if the table cannot be copied, and `KeySyncError` if it is damaged."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keysync" / "tables"
    path = cache / f"{listed.digest}.safetensors"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            store.fetch(listed.table, temporary)
            if digest.of_file(temporary) != listed.digest:
                raise KeySyncError(f"{store.named(listed.table)} is damaged: copy or prepare the data again")
    return path
