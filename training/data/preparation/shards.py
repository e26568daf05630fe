"""The last step of preparation: packs clips into WebDataset shards and writes their index.

The same clips give the same bytes in any order. All clips of a video belong to one split, so that validation uses no
face of the training clips.
"""

from __future__ import annotations

import logging
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.whole import whole_file

from ..disk import disk, written
from ..index import FILE, SPLITS, TRAIN, VALIDATION, Clip, DataInfo, Index

logger = logging.getLogger(__name__)

SHARD_BYTES = 10**9
OURS = re.compile(rf"({'|'.join(SPLITS)})-\d{{6}}\.tar")


@dataclass(frozen=True)
class ClipFiles:
    """A finished clip of `frames` frames of the video `video`, with the file of each part by the part's name.

    `key` names it in the shards, without dots, which end a key there, and slashes.
    """

    key: str
    video: str
    frames: int
    parts: Mapping[str, Path]

    @classmethod
    def of(cls, key: str, video: str, frames: int, files: Iterable[Path]) -> ClipFiles:
        """A clip in files that are named KEY.PART."""
        return cls(key, video, frames, {file.name[len(key) + 1 :]: file for file in files})

    def __post_init__(self) -> None:
        if not self.key or set(self.key) & set("./"):
            raise ValueError(f"{self.key!r} is not a valid key of a clip")


def write_shards(
    clips: Iterable[ClipFiles],
    folder: Path,
    info: DataInfo,
    *,
    shard_bytes: int = SHARD_BYTES,
    validation_share: float = 0.05,
) -> Path:
    """Writes train-000000.tar ..., validation-000000.tar ... and last the index to `folder`; returns the index.

    A shard ends with the clip that reaches `shard_bytes`. `validation_share` is the share of the videos, at least one.
    Shards of an earlier preparation are deleted. Raises `KeySyncError` without clips, for duplicate keys, on a full
    disk, and for a share that is not between 0 and 1.
    """
    splits = split(clips, validation_share)
    sizes: dict[str, int] = {}
    listed: dict[str, tuple[Clip, ...]] = dict.fromkeys(SPLITS, ())
    with disk(folder), ExitStack() as shards:
        for name in SPLITS:
            for number, shard in enumerate(_shards(splits[name], shard_bytes)):
                path = folder / f"{name}-{number:06}.tar"
                with disk(path):
                    temporary = shards.enter_context(whole_file(path))
                    checksums = _write_shard(temporary, shard)
                    sizes[path.name] = temporary.stat().st_size
                    listed[name] += tuple(_placed(temporary, path.name, shard, checksums))
        # The folder has no index until the new one is written: never new shards with an old index.
        (folder / FILE).unlink(missing_ok=True)
    with written(folder / FILE) as file:
        file.write_bytes(Index(info, sizes, listed).to_json().encode())
    for path in folder.glob("*.tar"):
        if OURS.fullmatch(path.name) and path.name not in sizes:
            path.unlink()
    return folder / FILE


def split(clips: Iterable[ClipFiles], validation_share: float) -> dict[str, list[ClipFiles]]:
    """The clips of each split, in the order of their keys.

    The names of the videos decide which are for validation, but the video with the longest clip is always for training:
    it may be the only one that is long enough for a keyframe window. A single video is split by clips, and a single
    clip is in both splits; a warning is logged.
    """
    if not 0 < validation_share < 1:
        raise KeySyncError(f"a validation share of {validation_share}: expected a number between 0 and 1")
    ordered = sorted(clips, key=lambda clip: clip.key)
    if not ordered:
        raise KeySyncError("no clips to pack into shards: add other videos")
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise KeySyncError(f"two clips have the key {first.key}, of {first.video} and {second.video}: rename one")
    if len(ordered) == 1:
        logger.warning("there is only one clip, %s: it serves both training and validation", ordered[0].key)
        return dict.fromkeys(SPLITS, ordered)
    longest = max(ordered, key=lambda clip: clip.frames).video
    others = sorted({clip.video for clip in ordered} - {longest}, key=lambda video: sha256(video.encode()).digest())
    if not others:
        logger.warning("all clips are from %s: its last clips serve validation, with the face of the training", longest)
        count = _validated(len(ordered), validation_share)
        return {TRAIN: ordered[:-count], VALIDATION: ordered[-count:]}
    chosen = set(others[: _validated(1 + len(others), validation_share)])
    return {
        TRAIN: [clip for clip in ordered if clip.video not in chosen],
        VALIDATION: [clip for clip in ordered if clip.video in chosen],
    }


def _validated(count: int, share: float) -> int:
    """A share of `count`; neither none nor all."""
    return min(max(1, round(share * count)), count - 1)


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
