"""The last step of preparation: clips, packed into WebDataset shards, and their index.

The same clips give the same bytes, whatever the order in which they come. Whole videos go to one split, so that nothing
of a face that is validated on is trained on.
"""

from __future__ import annotations

import logging
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from keysync.errors import KeySyncError, install_line
from keysync.whole import whole_file

from ..disk import disk, written
from ..index import FILE, SPLITS, TRAIN, VALIDATION, Clip, DataInfo, Index

logger = logging.getLogger(__name__)

SHARD_BYTES = 10**9
OURS = re.compile(rf"({'|'.join(SPLITS)})-\d{{6}}\.tar")


@dataclass(frozen=True)
class ClipFiles:
    """A finished clip of `frames` frames of the video called `video`: the file of each part, by the part's name.

    `key` names it in the shards: it holds neither dots, which end a key there, nor slashes.
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
            raise ValueError(f"a clip cannot be called {self.key!r}")


def write_shards(
    clips: Iterable[ClipFiles],
    folder: Path,
    info: DataInfo,
    *,
    shard_bytes: int = SHARD_BYTES,
    validation_share: float = 0.05,
) -> Path:
    """Writes train-000000.tar ..., validation-000000.tar ... and last the index into `folder`; returns the index.

    A shard ends with the clip that brings it to `shard_bytes`. `validation_share` is that of the videos, at least one.
    Shards of an earlier preparation go. Raises `KeySyncError` where there is no clip, two have one key, the disk
    is full, or a share is not between 0 and 1.
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
                    _write_shard(temporary, shard)
                    sizes[path.name] = temporary.stat().st_size
                    listed[name] += tuple(_placed(temporary, path.name, shard))
        # Until the new index is there the folder holds none: never new shards under an old index.
        (folder / FILE).unlink(missing_ok=True)
    with written(folder / FILE) as file:
        file.write_bytes(Index(info, sizes, listed).to_json().encode())
    for path in folder.glob("*.tar"):
        if OURS.fullmatch(path.name) and path.name not in sizes:
            path.unlink()
    return folder / FILE


def split(clips: Iterable[ClipFiles], validation_share: float) -> dict[str, list[ClipFiles]]:
    """The clips of each split, in the order of their keys.

    Which videos are for validation follows from their names, but the one with the longest clip is always trained on:
    of few videos it may be the only one that a keyframe window fits into. The clips of one video alone are parted, and
    one clip alone is in both; that is logged.
    """
    if not 0 < validation_share < 1:
        raise KeySyncError(
            f"{validation_share} of the videos cannot be kept for validation: choose a share above 0 and below 1"
        )
    ordered = sorted(clips, key=lambda clip: clip.key)
    if not ordered:
        raise KeySyncError("there is no clip to pack into shards: give more or other videos")
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise KeySyncError(f"two clips are called {first.key}, of {first.video} and {second.video}: rename one")
    if len(ordered) == 1:
        logger.warning("there is only one clip, %s: it is both trained and validated on", ordered[0].key)
        return dict.fromkeys(SPLITS, ordered)
    longest = max(ordered, key=lambda clip: clip.frames).video
    others = sorted({clip.video for clip in ordered} - {longest}, key=lambda video: sha256(video.encode()).digest())
    if not others:
        logger.warning("all clips are of %s: the last are validated on, with the face that is trained on", longest)
        count = _validated(len(ordered), validation_share)
        return {TRAIN: ordered[:-count], VALIDATION: ordered[-count:]}
    chosen = set(others[: _validated(1 + len(others), validation_share)])
    return {
        TRAIN: [clip for clip in ordered if clip.video not in chosen],
        VALIDATION: [clip for clip in ordered if clip.video in chosen],
    }


def _validated(count: int, share: float) -> int:
    """How many of `count` things a share is; neither none nor all."""
    return min(max(1, round(share * count)), count - 1)


def _shards(clips: Iterable[ClipFiles], shard_bytes: int) -> Iterator[list[ClipFiles]]:
    shard: list[ClipFiles] = []
    size = 0
    for clip in clips:
        shard.append(clip)
        try:
            size += sum(path.stat().st_size for path in clip.parts.values())
        except OSError as error:
            raise KeySyncError(f"{error.filename} cannot be read ({error.strerror}): prepare the data again") from error
        if size >= shard_bytes:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _write_shard(path: Path, clips: Iterable[ClipFiles]) -> None:
    """The same bytes for the same clips: no times, no owners, members in the order of their names."""
    try:
        from webdataset import TarWriter
    except ImportError as error:
        raise KeySyncError(f"shards need webdataset: {install_line('webdataset')}") from error
    options = {"encoder": False, "mtime": 0, "user": "", "group": ""}
    with path.open("wb") as file, TarWriter(file, **options) as tar:
        for clip in clips:
            tar.write({"__key__": clip.key, **{part: source.read_bytes() for part, source in clip.parts.items()}})


def _placed(path: Path, name: str, clips: Iterable[ClipFiles]) -> Iterator[Clip]:
    """The clips of a written shard, with the places of their parts in it."""
    members: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, part = member.name.partition(".")
            members.setdefault(key, {})[part] = (member.offset_data, member.size)
    return (Clip(name, clip.key, clip.frames, members[clip.key]) for clip in clips)
