"""The index as older versions wrote it: one JSON file that lists every part of every clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.data.index import FILE, Index, read_index, shared
from training.data.store import Folder
from training.data.table import Clip


def make_older(data: Path, *, checksums: bool = False) -> None:
    """Leaves the index of a folder in format 1, by default without checksums."""
    index = read_index(Folder(data))
    (data / FILE).write_text(older_json(index, checksums=checksums))


def older_json(index: Index, *, checksums: bool = True) -> str:
    splits = {split: _shards(clips, index.sizes, checksums) for split, clips in index.splits.items()}
    return json.dumps({**shared(index.info, 1), "splits": splits}) + "\n"


def _shards(clips: Sequence[Clip], sizes: dict[str, int], checksums: bool) -> list[dict[str, Any]]:
    samples: dict[str, list[dict[str, Any]]] = {}
    for clip in clips:
        sample: dict[str, Any] = {"key": clip.key, "frames": clip.frames, "members": dict(clip.members)}
        if checksums and clip.checksums:
            sample["crc32"] = dict(clip.checksums)
        samples.setdefault(clip.shard, []).append(sample)
    return [{"shard": name, "bytes": sizes[name], "samples": held} for name, held in samples.items()]
