"""The index of older data, without tables: format 1, one JSON file that lists every part of every clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keysync.strict_json import quoted

from .fields import pair, shard_name, whole
from .table import Clip, Clips, Table

FORMAT = 1


def older_clips(splits: Mapping[str, list[dict[str, Any]]], split: str) -> Clips:
    """The clips of one split. Raises built-in exceptions for content that is not an index."""
    clips: list[Clip] = []
    sizes: dict[str, int] = {}
    for shard in splits[split]:
        name, size = shard_name(shard["shard"]), whole(shard["bytes"], 1)
        sizes[name] = size
        for sample in shard["samples"]:
            members = {str(part): pair(place, 0) for part, place in sample["members"].items()}
            if any(offset + length > size for offset, length in members.values()):
                raise ValueError(f"clip {quoted(sample['key'])} is outside its shard {name}")
            checksums = {str(part): whole(crc, 0) for part, crc in sample.get("crc32", {}).items()}
            if checksums and checksums.keys() != members.keys():
                raise ValueError(f"the checksums of clip {quoted(sample['key'])} are not those of its parts")
            clips.append(Clip(name, str(sample["key"]), whole(sample["frames"], 1), members, checksums))
    return Clips([Table.of(clips, sizes)] if clips else [])
